# The example agent, for docker-compose.yml. The SDK that it needs is in the sidecar's image too; an agent of your own
# has its own image with `pip install kalguard` in it.
ARG SIDECAR=kalguard/sidecar:latest
FROM ${SIDECAR}
COPY examples/simple_agent.py /agent/simple_agent.py
HEALTHCHECK NONE
ENTRYPOINT ["python3", "/agent/simple_agent.py"]
CMD []
