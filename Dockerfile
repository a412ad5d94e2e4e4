# docker build -t attestlog . && docker run -p 8450:8450 -v audit:/data attestlog
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /attestlog ./cmd/attestlog && mkdir /data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /attestlog /attestlog
# The log, its key and its kept checkpoint: the volume must not be lost.
COPY --from=build --chown=nonroot:nonroot /data /data
VOLUME /data
ENV ATTESTLOG_LOG=sqlite:/data/audit.db ATTESTLOG_LISTEN=0.0.0.0:8450
EXPOSE 8450
STOPSIGNAL SIGTERM
ENTRYPOINT ["/attestlog"]
CMD ["serve"]
