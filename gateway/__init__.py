"""The thin HTTP side: authenticates the dashboard's user and translates to gRPC."""
