//! The chart that this program was built with: its values and its version.

use serde::Deserialize;

use crate::values::{ChartValues, ValuesError};

const CHART: &str = include_str!("../../../charts/marblerun/Chart.yaml");
const VALUES: &str = include_str!("../../../charts/marblerun/values.yaml");

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Its version.
    pub version: String,
    /// The version of the programs that it installs; a label tells it.
    pub app_version: String,
    /// Its defaults.
    pub values: ChartValues,
}

/// What `Chart.yaml` says, as far as it matters here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    version: String,
    app_version: String,
}

impl Chart {
    /// The one that this program was built with.
    ///
    /// # Errors
    /// Never in a program that was tested.
    pub fn built_in() -> Result<Self, ValuesError> {
        Self::read(CHART, VALUES)
    }

    /// One from the texts of its `Chart.yaml` and `values.yaml`. Only the built-in version can be installed, as its
    /// templates are part of this program; its defaults may be other ones.
    ///
    /// # Errors
    /// If it is another chart or version, or cannot be understood.
    pub fn of_same_version(chart: &str, values: &str) -> Result<Self, ValuesError> {
        let (own, other) = (Self::built_in()?, Self::read(chart, values)?);
        if own.version == other.version {
            return Ok(other);
        }
        Err(ValuesError::OtherChart { this: own.version, other: other.version })
    }

    fn read(chart: &str, values: &str) -> Result<Self, ValuesError> {
        let metadata: Metadata = serde_saphyr::from_str(chart).map_err(|error| ValuesError::Yaml(error.to_string()))?;
        if metadata.name != "marblerun" {
            return Err(ValuesError::NotThisChart(metadata.name));
        }
        Ok(Self {
            version: metadata.version,
            app_version: metadata.app_version,
            values: ChartValues::from_yaml(values)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_of_the_chart_is_refused_and_other_defaults_of_this_one_are_not() {
        let own = Chart::built_in().unwrap();
        assert_eq!(own.version, env!("CARGO_PKG_VERSION"));
        let other = Chart::of_same_version(CHART, "coordinator: {replicas: 5}").unwrap();
        assert_eq!(other.values.get(&["coordinator", "replicas"]), Some(&5.into()));
        let newer = CHART.replace(&format!("version: {}", own.version), "version: 99.0.0");
        assert!(matches!(Chart::of_same_version(&newer, VALUES), Err(ValuesError::OtherChart { .. })));
        let foreign = CHART.replace("name: marblerun", "name: other");
        assert!(matches!(Chart::of_same_version(&foreign, VALUES), Err(ValuesError::NotThisChart(_))));
    }
}
