"""`make test-deploy`: the image, the compose file and the manifests as they run, not only as they read."""
