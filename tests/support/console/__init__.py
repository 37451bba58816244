"""The console for tests: an office that it shows, a service that mounts it, its pages as a browser reads them."""
