# One static program and an empty data directory, on nothing: no shell, no libraries, no package to patch.
#
# Nothing is compiled in here. `ci/image` builds the program for the image and puts it where COPY finds
# it; see docs/containers.md.
FROM scratch

COPY target/image/cairn /cairn
# A volume that is mounted here for the first time takes over the owner of this directory.
COPY --chown=65532:65532 target/image/data /data
USER 65532:65532
WORKDIR /data

# A container has addresses of its own, and none of them is reached from outside unless it is published.
# The endpoint is for `docker exec NAME /cairn get hello`.
ENV CAIRN_DATA_DIR=/data \
    CAIRN_CLIENT_LISTEN=0.0.0.0:8000 \
    CAIRN_ENDPOINTS=127.0.0.1:8000
VOLUME /data
EXPOSE 8000 9000

# Healthy: this node answers, and some node that it reaches leads.
HEALTHCHECK --interval=2s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/cairn", "--timeout", "1s", "status"]

# SIGTERM, which the engine sends by itself, hands leadership over and closes the journal.
ENTRYPOINT ["/cairn"]
CMD ["serve"]
