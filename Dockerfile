# A static binary on an empty image: no shell, no package manager, not root.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /meshdiag ./cmd/meshdiag

FROM scratch
# The roots by which Google's APIs are trusted; the base image above ships them.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /meshdiag /meshdiag
USER 65532:65532
EXPOSE 7443
ENTRYPOINT ["/meshdiag"]
CMD ["serve"]
