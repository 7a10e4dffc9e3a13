//! Which cluster, and as whom? One rule for every command: kubectl's.
//!
//! `--kubeconfig` names the only file; else the files of `KUBECONFIG` are merged, the first that says a thing wins, and
//! those that do not exist are passed over; else `~/.kube/config`; else, inside a pod, its service account.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kube::Config;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};

/// What a user chooses on the command line.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The only file to read.
    pub kubeconfig: Option<PathBuf>,
    /// The context to use in place of the current one.
    pub context: Option<String>,
}

/// What the environment of a process says.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `KUBECONFIG`.
    pub kubeconfig: Option<OsString>,
    /// The user's home.
    pub home: Option<PathBuf>,
    /// Whether this is a pod with access to its API server.
    pub is_pod: bool,
}

impl Environment {
    /// Of this process.
    pub fn of_process() -> Self {
        Self {
            kubeconfig: std::env::var_os("KUBECONFIG"),
            home: std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from),
            is_pod: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some_and(|host| !host.is_empty()),
        }
    }

    /// The files that are to be read if none is chosen.
    fn files(&self) -> Vec<PathBuf> {
        let listed: Vec<PathBuf> = self
            .kubeconfig
            .iter()
            .flat_map(std::env::split_paths)
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
        if listed.is_empty() { self.home.iter().map(|home| home.join(".kube/config")).collect() } else { listed }
    }
}

/// A cluster that was found.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// How to reach it.
    pub config: Config,
    /// The context of the kubeconfig; `None` inside a pod.
    pub context: Option<String>,
}

/// Why no cluster was found.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Neither a file nor a pod.
    #[error(
        "no cluster is configured: {} does not exist; set KUBECONFIG or name a file with --kubeconfig", list(.looked_at)
    )]
    None {
        /// Where it was looked for.
        looked_at: Vec<PathBuf>,
    },
    /// A file that cannot be read or understood.
    #[error("reading the kubeconfig {}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<KubeconfigError>,
    },
    /// No context is chosen, and none is the current one.
    #[error(
        "the kubeconfig ({}) has no current context; name one with --kube-context, or choose one with 'kubectl config use-context'", list(.files)
    )]
    NoContext {
        /// The files that were read.
        files: Vec<PathBuf>,
    },
    /// The context is not there.
    #[error("the kubeconfig ({}) has no context {name:?}; there are: {}", list(.files), .there.join(", "))]
    UnknownContext {
        /// Its name.
        name: String,
        /// Those that are.
        there: Vec<String>,
        /// The files that were read.
        files: Vec<PathBuf>,
    },
    /// The context cannot be used.
    #[error("context {name:?} of the kubeconfig cannot be used: {source}")]
    Context {
        /// Its name.
        name: String,
        /// Why.
        source: Box<KubeconfigError>,
    },
    /// A context is chosen where there are none.
    #[error("there is no kubeconfig here, so there is no context {0:?} either")]
    ContextInPod(String),
    /// The files of the service account are missing.
    #[error("this is a pod, but its service account cannot be used: {0}")]
    Pod(#[source] Box<InClusterError>),
}

fn list(paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return "a kubeconfig".to_owned();
    }
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Finds the cluster.
///
/// # Errors
/// If there is none, or what describes it cannot be used.
pub async fn load(selection: &Selection, environment: &Environment) -> Result<Cluster, ConfigError> {
    let (files, must_exist) = match &selection.kubeconfig {
        Some(file) => (vec![file.clone()], true),
        None => (environment.files(), false),
    };
    let mut merged: Option<Kubeconfig> = None;
    for path in &files {
        if !must_exist && !path.exists() {
            continue;
        }
        let in_file = |source| ConfigError::File { path: path.clone(), source: Box::new(source) };
        let next = read(path).map_err(in_file)?;
        merged = Some(match merged {
            Some(earlier) => earlier.merge(next).map_err(in_file)?,
            None => next,
        });
    }
    match merged {
        Some(kubeconfig) => of_file(kubeconfig, selection, &files).await,
        None => of_pod(selection, environment, files),
    }
}

/// An empty path would name the working folder.
fn read(path: &Path) -> Result<Kubeconfig, KubeconfigError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match parent {
        Some(_) => Kubeconfig::read_from(path),
        None => Kubeconfig::read_from(Path::new(".").join(path)),
    }
}

async fn of_file(kubeconfig: Kubeconfig, selection: &Selection, files: &[PathBuf]) -> Result<Cluster, ConfigError> {
    let current = kubeconfig.current_context.clone().filter(|name| !name.is_empty());
    let Some(name) = selection.context.clone().or(current) else {
        return Err(ConfigError::NoContext { files: files.to_vec() });
    };
    let there: Vec<String> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    if !there.contains(&name) {
        return Err(ConfigError::UnknownContext { name, there, files: files.to_vec() });
    }
    let options = KubeConfigOptions { context: Some(name.clone()), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|source| ConfigError::Context { name: name.clone(), source: Box::new(source) })?;
    Ok(Cluster { config, context: Some(name) })
}

fn of_pod(selection: &Selection, environment: &Environment, looked_at: Vec<PathBuf>) -> Result<Cluster, ConfigError> {
    if let Some(name) = &selection.context {
        return Err(ConfigError::ContextInPod(name.clone()));
    }
    if !environment.is_pod {
        return Err(ConfigError::None { looked_at });
    }
    let config = Config::incluster().map_err(|error| ConfigError::Pod(Box::new(error)))?;
    Ok(Cluster { config, context: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(current: Option<&str>, contexts: &[(&str, u16)]) -> String {
        let mut text = String::from("apiVersion: v1\nkind: Config\n");
        if let Some(current) = current {
            text += &format!("current-context: {current}\n");
        }
        let entries = |what: &dyn Fn(&str, u16) -> String| -> String {
            contexts.iter().map(|(name, port)| what(name, *port)).collect()
        };
        text += "contexts:\n";
        text += &entries(&|name, _| format!("- name: {name}\n  context: {{cluster: {name}, user: {name}}}\n"));
        text += "clusters:\n";
        text +=
            &entries(&|name, port| format!("- name: {name}\n  cluster: {{server: \"https://127.0.0.1:{port}\"}}\n"));
        text += "users:\n";
        text += &entries(&|name, _| format!("- name: {name}\n  user: {{token: {name}}}\n"));
        text
    }

    struct Home {
        dir: tempfile::TempDir,
    }

    impl Home {
        fn new(files: &[(&str, String)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in files {
                let path = dir.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            Self { dir }
        }

        fn environment(&self, listed: &[&str]) -> Environment {
            let paths = listed.iter().map(|name| self.dir.path().join(name));
            let kubeconfig = (!listed.is_empty()).then(|| std::env::join_paths(paths).unwrap());
            Environment { kubeconfig, home: Some(self.dir.path().to_path_buf()), is_pod: false }
        }

        async fn load(&self, listed: &[&str], selection: &Selection) -> Result<(String, String), ConfigError> {
            let cluster = load(selection, &self.environment(listed)).await?;
            Ok((cluster.context.unwrap(), cluster.config.cluster_url.to_string()))
        }
    }

    fn context(name: &str) -> Selection {
        Selection { context: Some(name.to_owned()), ..Selection::default() }
    }

    #[tokio::test]
    async fn of_a_list_the_first_file_that_says_a_thing_wins_and_missing_files_are_passed_over() {
        let home = Home::new(&[
            ("a", kubeconfig(None, &[("one", 1)])),
            ("b", kubeconfig(Some("two"), &[("one", 9), ("two", 2)])),
            (".kube/config", kubeconfig(Some("home"), &[("home", 3)])),
        ]);
        let found = home.load(&["missing", "a", "b"], &Selection::default()).await.unwrap();
        assert_eq!(found, ("two".to_owned(), "https://127.0.0.1:2/".to_owned()));
        let found = home.load(&["missing", "a", "b"], &context("one")).await.unwrap();
        assert_eq!(found, ("one".to_owned(), "https://127.0.0.1:1/".to_owned()));
        let found = home.load(&[], &Selection::default()).await.unwrap();
        assert_eq!(found.0, "home");
    }

    #[tokio::test]
    async fn a_file_that_is_named_is_the_only_one_and_must_exist() {
        let home =
            Home::new(&[("a", kubeconfig(Some("one"), &[("one", 1)])), ("b", kubeconfig(Some("two"), &[("two", 2)]))]);
        let named = |name: &str| Selection { kubeconfig: Some(home.dir.path().join(name)), context: None };
        assert_eq!(home.load(&["a"], &named("b")).await.unwrap().0, "two");
        let error = home.load(&["a"], &named("c")).await.unwrap_err();
        assert!(matches!(error, ConfigError::File { .. }), "{error}");
    }

    #[tokio::test]
    async fn what_is_missing_is_told_with_what_there_is() {
        let home = Home::new(&[("a", kubeconfig(None, &[("one", 1), ("two", 2)]))]);
        let error = home.load(&["a"], &Selection::default()).await.unwrap_err();
        assert!(matches!(error, ConfigError::NoContext { .. }), "{error}");
        let error = home.load(&["a"], &context("three")).await.unwrap_err().to_string();
        assert!(error.contains("no context \"three\"; there are: one, two"), "{error}");
        let error = home.load(&["x", "y"], &Selection::default()).await.unwrap_err().to_string();
        assert!(error.starts_with("no cluster is configured") && error.contains("/y does not exist"), "{error}");
        let error = home.load(&["x"], &context("one")).await.unwrap_err();
        assert!(matches!(error, ConfigError::ContextInPod(_)), "{error}");
    }
}
