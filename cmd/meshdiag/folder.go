package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/collect/bundle"
)

// packFolder makes an archive of a folder's files, in the order of their names; hidden ones are left out. A link is packed as
// a link: the report then says that it wasn't followed.
func packFolder(name string) ([]byte, error) {
	root, err := os.OpenRoot(name) // a file that becomes a link meanwhile leads nowhere
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // only read
	var files []bundle.File
	left := int64(bundle.MaxBytes)
	err = filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(name, path)
		if err != nil {
			return fmt.Errorf("reading the folder %s: %w", name, err)
		}
		switch {
		case rel == ".":
			return nil
		case strings.HasPrefix(d.Name(), ".") && d.IsDir():
			return fs.SkipDir
		case strings.HasPrefix(d.Name(), "."), d.IsDir():
			return nil
		case len(files) == bundle.MaxMembers:
			return fmt.Errorf("the folder %s holds more than %d files", name, bundle.MaxMembers)
		}
		file := bundle.File{Name: filepath.ToSlash(rel), Link: !d.Type().IsRegular()}
		if !file.Link {
			if file.Data, err = readIn(root, rel, left); err != nil {
				return fmt.Errorf("the folder %s: %w", name, err)
			}
			left -= int64(len(file.Data))
		}
		files = append(files, file)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s is a folder without files", name)
	}
	var out bytes.Buffer
	if err := bundle.Pack(&out, files, time.Time{}); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// readIn reads a file of a folder that isn't larger than most bytes.
func readIn(root *os.Root, name string, most int64) ([]byte, error) {
	if st, err := root.Stat(name); err == nil && st.Size() > most {
		return nil, fmt.Errorf("its files have more than %d MiB together", bundle.MaxBytes>>20)
	}
	return root.ReadFile(name)
}
