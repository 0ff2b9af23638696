"""Settings: bridge.toml and the environment, read once, frozen, checked whole (intake, section 3)."""

from fhir_bridge.settings.calling import CallingHours, calling_hours
from fhir_bridge.settings.effective import Effective, effective
from fhir_bridge.settings.load import Loaded, load_settings
from fhir_bridge.settings.model import Endpoint, Settings, Source
from fhir_bridge.settings.tables import DispatchSettings, SourceSettings, SubscriptionSettings

__all__ = [
    "CallingHours",
    "DispatchSettings",
    "Effective",
    "Endpoint",
    "Loaded",
    "Settings",
    "Source",
    "SourceSettings",
    "SubscriptionSettings",
    "calling_hours",
    "effective",
    "load_settings",
]
