package host

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
)

// redacted stands where a secret was.
const redacted = "[redacted]"

// secretNames are the ends of keys, in lower case without separators, whose value is a secret wherever it stands. Envoy's
// own are those of envoy.extensions.transport_sockets.tls.v3 and of gRPC call credentials.
var secretNames = []string{
	"accesstoken", "refreshtoken", "idtoken", "sessiontoken", "authtoken", "securitytoken", "bearertoken", "privatekey", "privatekeyid", "clientsecret", "apikey", "password",
	"passwd", "passphrase", "secret", "secretkey", "secretaccesskey", "credential", "authorization", "cookie", "inlinestring", "inlinebytes", "sessionticketkeys",
	"genericsecret", "tokensecret", "hmacsecret", "serviceaccountjwtaccess", "jsonkey", "pkcs12", "signature", "cookies", "passwords", "privatekeys", "apikeys", "tokens",
}

// harmless are keys that end like a secret's and hold none: names of secrets, and file names.
var harmless = []string{"tokenuri", "secretname"}

// secretKey says whether a key's value is a secret.
func secretKey(key string) bool {
	k := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		}
		return -1
	}, key)
	for _, h := range harmless {
		if strings.HasSuffix(k, h) {
			return false
		}
	}
	for _, s := range secretNames {
		if strings.HasSuffix(k, s) {
			return true
		}
	}
	return k == "token"
}

var (
	// pemBlock finds private keys, with line breaks or with \n in a string; one whose end is cut off goes to the end of the text.
	pemBlock = regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*(?:PRIVATE KEY|SECRET)[A-Z0-9 ]*-----.*?(?:-----END [A-Z0-9 ]*-----|\z)`)
	// pemEnd finds the rest of a private key whose start was cut off.
	pemEnd = regexp.MustCompile(`(?s)\A.*-----END [A-Z0-9 ]*(?:PRIVATE KEY|SECRET)[A-Z0-9 ]*-----`)
	// bearer finds tokens behind their scheme, wherever a program prints them.
	bearer = regexp.MustCompile(`(?i)\b(bearer|basic|negotiate)([ \t]+|%20)[A-Za-z0-9._~+/=-]{8,}`)
	// known finds tokens by their own form: Google's access tokens, refresh tokens, API keys and client secrets, and JWTs.
	known = regexp.MustCompile(`\bya29\.[A-Za-z0-9._-]+|\b1//[A-Za-z0-9_-]{20,}|\bAIza[A-Za-z0-9_-]{30,}|\bGOCSPX-[A-Za-z0-9_-]+|\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?`)
	// userinfo finds the password in a URL.
	userinfo = regexp.MustCompile(`(://[^/\s:@"']*:)[^/\s@"']+@`)
	// headerLine finds headers that are secret as a whole, to the end of their line or string.
	headerLine = regexp.MustCompile(`(?i)((?:proxy-)?authorization|(?:set-)?cookie|x-[a-z-]*(?:token|api-key|secret|assertion))(\\*["']?\s*[:=]\s*\\*["']?|\\*["']\s*,\s*\\*["'])[^"'\r\n\\]+`)
	// assignment finds key=value, "key": "value", 'key': 'value', --key value, in text of any kind. Words before a colon alone
	// ("token: expired") are left to longValue: what a message says must stay.
	assignment = regexp.MustCompile(`((?:--?)?[A-Za-z][A-Za-z0-9_.-]*)(\\*["']\s*[:=]\s*\\*["']?|=\\*["']?|\s*:\s*\\*["'])([^\s"'\\,;&}\]]+)`)
	longValue  = regexp.MustCompile(`([A-Za-z][A-Za-z0-9_.-]*)(:[ \t]*)([A-Za-z0-9._~+/=-]{16,})`)
	flagValue  = regexp.MustCompile(`(--?[A-Za-z][A-Za-z0-9_.-]*)([ \t]+)([^\s-]\S*)`)
)

// redactText takes tokens, passwords and private keys out of text of any kind.
func redactText(s string) string {
	if !strings.ContainsAny(s, "=: %") && !known.MatchString(s) {
		return s // most strings of a config dump: nothing above can match
	}
	if strings.Contains(s, "-----") {
		s = pemBlock.ReplaceAllString(s, redacted)
		s = pemEnd.ReplaceAllString(s, redacted)
	}
	s = headerLine.ReplaceAllString(s, "${1}${2}"+redacted)
	s = bearer.ReplaceAllString(s, "${1}${2}"+redacted)
	s = known.ReplaceAllString(s, redacted)
	s = userinfo.ReplaceAllString(s, "${1}"+redacted+"@")
	for _, re := range []*regexp.Regexp{assignment, longValue, flagValue} {
		s = replaceSecret(re, s)
	}
	return s
}

// replaceSecret replaces the third group of a match where the first is a secret's key.
func replaceSecret(re *regexp.Regexp, s string) string {
	var out strings.Builder
	done := 0
	for at := 0; at < len(s); {
		m := re.FindStringSubmatchIndex(s[at:])
		if m == nil {
			break
		}
		if !secretKey(s[at+m[2]:at+m[3]]) || strings.HasPrefix(s[at+m[6]:], redacted) {
			at += m[3] // the value may itself be a key
			continue
		}
		out.WriteString(s[done : at+m[6]])
		out.WriteString(redacted)
		at += m[7]
		done = at
	}
	if done == 0 {
		return s
	}
	out.WriteString(s[done:])
	return out.String()
}

// redact takes secrets out of a file. JSON and YAML are gone through by their keys, so that what stands below a secret key is
// taken out whatever it looks like; the rest is text.
func redact(data []byte) []byte {
	switch start := bytes.TrimSpace(data); {
	case len(start) == 0:
		return data
	case start[0] == '{' || start[0] == '[' && !bytes.HasPrefix(start, []byte("[20")): // Envoy's log lines begin with a date
		return redactJSON(data)
	default:
		return []byte(redactText(redactYAML(string(data))))
	}
}

// public says whether a value below a key such as inline_string may stay: certificates are shown to anyone who connects, and
// the formats of access logs tell how to read them.
func public(key, value string) bool {
	v := strings.TrimSpace(value)
	switch strings.ReplaceAll(strings.ToLower(key), "_", "") {
	case "inlinestring":
	case "filename":
		return strings.HasPrefix(v, "/") && !strings.ContainsAny(v, " \t\r\n")
	default:
		return false
	}
	return strings.HasPrefix(v, "-----BEGIN CERTIFICATE-----") && !strings.Contains(v, "PRIVATE") || strings.Contains(v, "%START_TIME")
}

// redactJSON goes through JSON, also what is cut off or is several documents, and leaves all but secrets as it stands.
func redactJSON(data []byte) []byte {
	type level struct {
		object bool
		key    string // the last one
		secret bool   // all below is
	}
	var out bytes.Buffer
	out.Grow(len(data))
	stack := []level{{}}
	secretHere := func() bool {
		top := stack[len(stack)-1]
		return top.secret || top.object && secretKey(top.key)
	}
	for i := 0; i < len(data); {
		top := &stack[len(stack)-1]
		switch c := data[i]; {
		case c == '{' || c == '[':
			next := level{object: c == '{', secret: secretHere()}
			if !next.object {
				next.key = top.key
			}
			stack = append(stack, next)
			out.WriteByte(c)
			i++
		case c == '}' || c == ']':
			if len(stack) > 1 {
				stack = stack[:len(stack)-1]
			}
			out.WriteByte(c)
			i++
		case c == '"':
			end, whole := stringEnd(data, i)
			raw := data[i:end]
			i = end
			if whole && top.object && isKey(data, end) {
				var key string
				if json.Unmarshal(raw, &key) == nil {
					top.key = key
				}
				out.Write(raw)
				continue
			}
			out.Write(redactString(raw, whole, secretHere(), top.key, pairedKey(&out, top.object, top.key)))
		case bytes.IndexByte([]byte(" \t\r\n,:"), c) < 0 && secretHere() && !bytes.HasPrefix(data[i:], []byte("null")):
			for i < len(data) && bytes.IndexByte([]byte(" \t\r\n,}]"), data[i]) < 0 {
				i++
			}
			out.WriteString(`"` + redacted + `"`)
		case c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ',' || c == ':' || c == '.' || c == '-' || c == '+' || c >= '0' && c <= '9':
			out.WriteByte(c)
			i++
		default:
			if n := word(data[i:]); n > 0 {
				out.Write(data[i : i+n])
				i += n
				continue
			}
			// Not JSON from here on.
			out.WriteString(redactText(redactYAML(string(data[i:]))))
			i = len(data)
		}
	}
	return out.Bytes()
}

// word gives the length of a JSON literal or of an exponent.
func word(b []byte) int {
	for _, w := range []string{"true", "false", "null", "e", "E"} {
		if bytes.HasPrefix(b, []byte(w)) {
			return len(w)
		}
	}
	return 0
}

// headerName finds that the value before in the same object was the name of a secret header: {"key": "authorization",
// "value": …}, as Envoy has it.
var headerName = regexp.MustCompile(`(?i)"(?:key|name|header_?name)"\s*:\s*"([^"]*)"\s*,\s*"[A-Za-z_]*value[A-Za-z_]*"\s*:\s*$`)

func pairedKey(out *bytes.Buffer, object bool, key string) bool {
	if !object || !strings.HasSuffix(strings.ToLower(key), "value") {
		return false
	}
	b := out.Bytes()
	m := headerName.FindSubmatch(b[max(0, len(b)-300):])
	return m != nil && secretKey(string(m[1]))
}

// redactString gives a JSON string without its secrets.
func redactString(raw []byte, whole, secret bool, key string, paired bool) []byte {
	var s string
	if !whole || json.Unmarshal(raw, &s) != nil {
		if secret || paired {
			return []byte(`"` + redacted)
		}
		return []byte(redactText(string(raw)))
	}
	clean := redacted
	switch {
	case paired:
	case secret && !public(key, s):
		if s == "" || s == redacted {
			return raw // tells that the field is there and empty
		}
	default:
		clean = redactText(s)
	}
	if clean == s {
		return raw
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if e.Encode(clean) != nil {
		return []byte(`"` + redacted + `"`)
	}
	return bytes.TrimRight(out.Bytes(), "\n")
}

// stringEnd gives the index after the string that begins at i, and whether it ends at all.
func stringEnd(data []byte, i int) (int, bool) {
	for j := i + 1; j < len(data); j++ {
		switch data[j] {
		case '\\':
			j++
		case '"':
			return j + 1, true
		}
	}
	return len(data), false
}

func isKey(data []byte, i int) bool {
	rest := bytes.TrimLeft(data[i:min(len(data), i+64)], " \t\r\n")
	return len(rest) > 0 && rest[0] == ':'
}

// yamlKey is a line of YAML that begins with a key: its indentation, list dashes included, the key, and what follows.
var yamlKey = regexp.MustCompile(`^([ \t]*(?:- +)*)["']?([A-Za-z_][A-Za-z0-9_.-]*)["']?[ \t]*:(?:[ \t]+(.*)|)$`)

// redactYAML takes out what stands below or beside secret keys in YAML, by indentation.
func redactYAML(s string) string {
	lines := strings.SplitAfter(s, "\n")
	below := -1 // the indentation of the secret key, whose deeper lines go
	said := false
	header := "" // the indentation and name of a header whose value comes next
	for i, line := range lines {
		text := strings.TrimRight(line, "\r\n")
		end := line[len(text):]
		indent := len(text) - len(strings.TrimLeft(text, " \t"))
		if below >= 0 {
			if strings.TrimSpace(text) == "" {
				continue
			}
			if indent > below || indent == below && strings.HasPrefix(text[indent:], "- ") {
				lines[i] = ""
				if !said {
					lines[i], said = text[:indent]+redacted+end, true
				}
				continue
			}
			below = -1
		}
		m := yamlKey.FindStringSubmatch(text)
		if m == nil {
			header = ""
			continue
		}
		value := strings.TrimSpace(m[3])
		wasHeader := header
		header = ""
		switch k := strings.ToLower(m[2]); {
		case (k == "key" || k == "name") && secretKey(strings.Trim(value, `"'`)):
			header = m[2]
			continue
		case wasHeader != "" && strings.HasSuffix(k, "value"):
		case !secretKey(m[2]) || public(m[2], strings.Trim(value, `"'`)):
			continue
		}
		below, said = len(m[1]), value != "" && value[0] != '|' && value[0] != '>'
		if said {
			lines[i] = text[:len(text)-len(m[3])] + redacted + end
		}
	}
	return strings.Join(lines, "")
}
