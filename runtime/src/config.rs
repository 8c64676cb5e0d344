//! Options from a file and from the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gristmill_cluster::transport::Secret;
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use crate::SiloOptions;
use crate::clustering::options::ClusterOptions;

/// What the names of environment variables begin with.
const PREFIX: &str = "GRISTMILL_";

/// A silo's options, read from a TOML file, environment variables, or both.
///
/// The file has the tables `silo` and `cluster`, whose keys are the fields of [`SiloOptions`] and [`ClusterOptions`]. Each
/// key can also be an environment variable, which goes before the file: `GRISTMILL_CLUSTER_LISTEN` is `listen` of `cluster`.
/// Durations are text such as `"30s"`, `"250ms"` or `"1m 30s"`. In the place of `secret` a `secret_file` may be named, whose
/// content, without white space at its ends, is the secret. In a variable, labels are `zone=eu,rack=7`. An unknown key is an
/// error.
///
/// ```
/// # use gristmill::Config;
/// let config = Config::from_toml(
///     r#"
///     [silo]
///     call_timeout = "5s"
///
///     [cluster]
///     listen = "10.0.0.1:7001"
///     labels = { zone = "eu" }
///     "#,
/// )?;
/// assert_eq!(config.silo.call_timeout.as_secs(), 5);
/// assert_eq!(config.cluster.labels["zone"], "eu");
/// # Ok::<(), gristmill::ConfigError>(())
/// ```
///
/// ```no_run
/// # use gristmill::prelude::*;
/// # use gristmill::{Config, cluster::RedisCluster};
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// let config = Config::load(Some("/etc/game/gristmill.toml".as_ref()))?;
/// let cluster = RedisCluster::connect("redis://127.0.0.1:6379").await?;
/// let silo = Silo::builder().options(config.silo).cluster(cluster, config.cluster).start().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// For [`SiloBuilder::options`](crate::SiloBuilder::options).
    pub silo: SiloOptions,
    /// For [`SiloBuilder::cluster`](crate::SiloBuilder::cluster).
    pub cluster: ClusterOptions,
}

/// Why options could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// It is not TOML, or has a key or a value that no option has.
    #[error("{0}")]
    Toml(Box<toml::de::Error>),
    /// An environment variable that means no option.
    #[error("environment variable {name}: {why}")]
    Variable {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The secret will not do.
    #[error("cluster.secret: {0}")]
    Secret(String),
}

impl From<toml::de::Error> for ConfigError {
    fn from(error: toml::de::Error) -> Self {
        Self::Toml(Box::new(error))
    }
}

impl Config {
    /// From a file, if one is named, and this process's environment.
    ///
    /// # Errors
    /// The file cannot be read, or something in it or in the environment is no option.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let text = match file {
            None => String::new(),
            Some(path) => read(path)?,
        };
        let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let variables = variables.map(|(name, value)| (name, value.to_string_lossy().into_owned()));
        Self::from_parts(&text, variables)
    }

    /// From the text of a file.
    ///
    /// # Errors
    /// It is not TOML, or something in it is no option.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::from_parts(text, [])
    }

    /// From the text of a file, and variables, which go before it.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_parts(text: &str, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        // For the place of an error in the file; the variables are laid over it after that.
        toml::from_str::<Tables>(text)?;
        let mut tables: Table = toml::from_str(text)?;
        for (name, value) in variables {
            let Some((table, key)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')) else { continue };
            let (table, key) = (table.to_lowercase(), key.to_lowercase());
            if !["silo", "cluster"].contains(&&*table) {
                continue;
            }
            let wrong = |why: String| ConfigError::Variable { name: name.clone(), why };
            let value = value_of(&key, &value).map_err(wrong)?;
            // By itself first, so that the error names it.
            let alone =
                Table::from_iter([(table.clone(), Value::from(Table::from_iter([(key.clone(), value.clone())])))]);
            alone.try_into::<Tables>().map_err(|error: toml::de::Error| wrong(error.message().to_owned()))?;
            if let Some(entries) = tables.entry(table).or_insert_with(|| Table::new().into()).as_table_mut() {
                if key == "secret" {
                    entries.remove("secret_file");
                } else if key == "secret_file" {
                    entries.remove("secret");
                }
                entries.insert(key, value);
            }
        }
        let tables: Tables = tables.try_into()?;
        Ok(Self { silo: tables.silo.into_options(), cluster: tables.cluster.into_options()? })
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::File { path: path.to_owned(), error })
}

/// A variable's text, as the value that the file would have.
fn value_of(key: &str, text: &str) -> Result<Value, String> {
    match key {
        "memory_budget" | "cores" | "seed" => {
            text.trim().parse::<i64>().map(Value::from).map_err(|_| format!("{text:?} is not a number"))
        }
        "allow_insecure" | "exit_when_dead" => {
            text.trim().parse::<bool>().map(Value::from).map_err(|_| format!("{text:?} is neither true nor false"))
        }
        "labels" => {
            let label =
                |label: &str| label.split_once('=').map(|(name, value)| (name.trim().to_owned(), value.trim().into()));
            let labels: Option<Table> = text.split(',').filter(|part| !part.trim().is_empty()).map(label).collect();
            labels.map(Value::from).ok_or_else(|| format!("{text:?} is not name=value,name=value"))
        }
        _ => Ok(Value::from(text)),
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Tables {
    silo: SiloTable,
    cluster: ClusterTable,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct SiloTable {
    call_timeout: Option<Time>,
    activation_timeout: Option<Time>,
    stuck_after: Option<Time>,
    drain_timeout: Option<Time>,
    memory_budget: Option<usize>,
    cores: Option<usize>,
    seed: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ClusterTable {
    cluster: Option<String>,
    listen: Option<String>,
    advertise: Option<String>,
    secret: Option<String>,
    secret_file: Option<PathBuf>,
    allow_insecure: Option<bool>,
    name: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    exit_when_dead: Option<bool>,
    beat: Option<Time>,
    silence: Option<Time>,
    lease: Option<Time>,
}

struct Time(Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong =
            |error| serde::de::Error::custom(format!("{text:?} is no duration ({error}); write \"30s\" or \"250ms\""));
        humantime::parse_duration(&text).map(Self).map_err(wrong)
    }
}

impl SiloTable {
    fn into_options(self) -> SiloOptions {
        let default = SiloOptions::default();
        let time = |given: Option<Time>, default| given.map_or(default, |Time(time)| time);
        SiloOptions {
            call_timeout: time(self.call_timeout, default.call_timeout),
            activation_timeout: time(self.activation_timeout, default.activation_timeout),
            stuck_after: time(self.stuck_after, default.stuck_after),
            drain_timeout: time(self.drain_timeout, default.drain_timeout),
            memory_budget: self.memory_budget.or(default.memory_budget),
            cores: self.cores.unwrap_or(default.cores),
            seed: self.seed.or(default.seed),
        }
    }
}

impl ClusterTable {
    fn into_options(self) -> Result<ClusterOptions, ConfigError> {
        let default = ClusterOptions::default();
        let time = |given: Option<Time>, default| given.map_or(default, |Time(time)| time);
        let secret = match (self.secret, self.secret_file) {
            (None, None) => None,
            (Some(secret), None) => Some(secret),
            (None, Some(path)) => Some(read(&path)?.trim().to_owned()),
            (Some(_), Some(_)) => return Err(ConfigError::Secret("both secret and secret_file are given".to_owned())),
        };
        let secret = secret.map(Secret::new).transpose().map_err(|error| ConfigError::Secret(error.to_string()))?;
        Ok(ClusterOptions {
            cluster: self.cluster.unwrap_or(default.cluster),
            listen: self.listen.unwrap_or(default.listen),
            advertise: self.advertise.or(default.advertise),
            secret,
            allow_insecure: self.allow_insecure.unwrap_or(default.allow_insecure),
            name: self.name.or(default.name),
            labels: self.labels.unwrap_or(default.labels),
            exit_when_dead: self.exit_when_dead.unwrap_or(default.exit_when_dead),
            beat: time(self.beat, default.beat),
            silence: time(self.silence, default.silence),
            lease: time(self.lease, default.lease),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_parts(text, variables)
    }

    #[test]
    fn every_option_can_be_said_and_what_is_not_said_is_the_default() {
        let text = r#"
            [silo]
            call_timeout = "5s"
            activation_timeout = "6s"
            stuck_after = "7s"
            drain_timeout = "1m 30s"
            memory_budget = 1000000
            cores = 3
            seed = 42
            [cluster]
            cluster = "eu"
            listen = "0.0.0.0:7001"
            advertise = "10.0.0.1:7001"
            secret = "a secret of enough letters"
            allow_insecure = true
            name = "one"
            labels = { zone = "a" }
            exit_when_dead = false
            beat = "500ms"
            silence = "2s"
            lease = "4s"
        "#;
        let Config { silo, cluster } = with(text, &[]).unwrap();
        assert_eq!((silo.call_timeout, silo.drain_timeout), (Duration::from_secs(5), Duration::from_secs(90)));
        assert_eq!((silo.memory_budget, silo.cores, silo.seed), (Some(1_000_000), 3, Some(42)));
        assert_eq!((cluster.cluster.as_str(), cluster.advertise.as_deref()), ("eu", Some("10.0.0.1:7001")));
        assert_eq!((cluster.exit_when_dead, cluster.beat), (false, Duration::from_millis(500)));
        assert!(cluster.secret.is_some());
        let Config { silo, cluster } = with("", &[]).unwrap();
        assert_eq!(
            format!("{silo:?}{cluster:?}"),
            format!("{:?}{:?}", SiloOptions::default(), ClusterOptions::default())
        );
    }

    #[test]
    fn variables_go_before_the_file() {
        let variables = [
            ("GRISTMILL_SILO_CALL_TIMEOUT", "1s"),
            ("GRISTMILL_CLUSTER_LABELS", "zone=eu, rack=7"),
            ("GRISTMILL_CLUSTER_EXIT_WHEN_DEAD", "false"),
            ("GRISTMILL_CLUSTER_NAME", "7"),
            ("GRISTMILL_SILO_CORES", "2"),
            ("GRISTMILL_REDIS", "not an option of ours"),
            ("PATH", "/bin"),
        ];
        let config = with("[silo]\ncall_timeout = \"9s\"\nstuck_after = \"3s\"", &variables).unwrap();
        assert_eq!(config.silo.call_timeout, Duration::from_secs(1));
        assert_eq!((config.silo.stuck_after, config.silo.cores), (Duration::from_secs(3), 2));
        assert_eq!((config.cluster.labels["rack"].as_str(), config.cluster.name.as_deref()), ("7", Some("7")));
        assert!(!config.cluster.exit_when_dead);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, variables, named) in [
            ("[silo]\ncall_time = \"5s\"", vec![], "call_time"),
            ("[silo]\ncall_timeout = \"5 parsecs\"", vec![], "5 parsecs"),
            ("[silo]\ncall_timeout = 5", vec![], "call_timeout"),
            ("nonsense", vec![], "nonsense"),
            ("", vec![("GRISTMILL_SILO_CALL_TIME", "5s")], "GRISTMILL_SILO_CALL_TIME"),
            ("", vec![("GRISTMILL_SILO_CORES", "many")], "GRISTMILL_SILO_CORES"),
            ("", vec![("GRISTMILL_CLUSTER_LABELS", "zone")], "GRISTMILL_CLUSTER_LABELS"),
            ("[cluster]\nsecret = \"short\"", vec![], "secret"),
            ("[cluster]\nsecret_file = \"/nowhere/at/all\"", vec![], "/nowhere/at/all"),
        ] {
            let error = with(text, &variables).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn a_secret_may_be_in_a_file_and_is_not_shown() {
        let path = std::env::temp_dir().join(format!("gristmill-secret-{}", std::process::id()));
        std::fs::write(&path, "a secret of enough letters\n").unwrap();
        let config = with("", &[("GRISTMILL_CLUSTER_SECRET_FILE", path.to_str().unwrap())]);
        std::fs::remove_file(&path).unwrap();
        let config = config.unwrap();
        assert!(config.cluster.secret.is_some());
        assert!(!format!("{config:?}").contains("enough"));
    }
}
