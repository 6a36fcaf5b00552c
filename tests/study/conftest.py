from reference.fixtures import Fragile, fragile, model, truth  # noqa: F401
