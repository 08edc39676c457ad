"""The self-hosted mode: the ChatKit protocol, served with OpenAI's SDKs; imported there alone."""
