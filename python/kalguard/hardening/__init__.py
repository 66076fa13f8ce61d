"""Takes from processes what they do not need: from the service itself (`process`), and from tools (`sandbox`)."""
