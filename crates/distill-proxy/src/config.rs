//! The configuration file (`proxy.yaml`): what was written, checked, and what it means.
//!
//! Text becomes a tree with places, the tree becomes sections as written, and these the plain
//! [`Config`], in which every name is known, every number in its range, every key read from its
//! environment variable and every default filled in. All findings are reported at once.

mod resolved;

pub use resolved::{
    AlertsConfig, Answer, CacheConfig, CacheScope, ClassConfig, Conditions, Config, Day, Detector,
    EmbeddingConfig, HedgeConfig, LimitsConfig, LogFormat, MemberConfig, OtlpConfig, PersonConfig,
    Policy, PoolConfig, PriceConfig, QualityConfig, RedactConfig, RedactionConfig, RouteConfig,
    RouteQuality, RouteTimeouts, SecurityConfig, SemanticConfig, SimulateConfig, SpendConfig,
    SpendRate, StoreConfig, StudentsConfig, TaskConfig, TaskParameters, TaskPolicy, TaskVersion,
    TelemetryConfig, TokenRule, UsdRule, VendorConfig, VendorModel, WebhookConfig,
};
