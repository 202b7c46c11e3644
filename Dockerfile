# The server as an image: built from the lock file, run by nobody in particular.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
COPY --from=build /src/target/release/statehouse /usr/local/bin/statehouse
RUN useradd --system --uid 4600 --no-create-home statehouse \
    && install -d -o statehouse -g statehouse /data
USER statehouse
VOLUME /data
EXPOSE 4600
# Whoever reaches the port may read and write everything: publish it to a network that is trusted.
ENV STATEHOUSE_DATA=/data \
    STATEHOUSE_LISTEN=0.0.0.0:4600 \
    STATEHOUSE_ADMIN__LISTEN=127.0.0.1:4601
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/4601 && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/statehouse"]
CMD ["serve", "--insecure"]
