"""The gRPC service that alone talks to OpenAI and alone keeps sessions and usage statistics."""
