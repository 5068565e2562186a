use super::*;
use std::error::Error as _;

const VALUE: &str = "canary-5up3r-s3cret";

fn secret(id: &str, from: SecretSource, form: SecretForm) -> PlannedSecret {
    PlannedSecret { id: id.into(), from, form, target: "TOKEN".into(), is_optional: false, span: None }
}

fn variable(name: &str) -> Option<OsString> {
    match name {
        "NPM_TOKEN" => Some(VALUE.into()),
        "EMPTY" => Some("".into()),
        "SHORT" => Some("abc".into()),
        _ => None,
    }
}

fn gather(directory: &Path, secrets: &[PlannedSecret]) -> Result<Secrets, SecretError> {
    Secrets::gather(secrets, &Places { variable: &variable, root: directory, directory })
}

#[test]
fn a_secret_reaches_a_variable() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("token"), format!("{VALUE}\r\n")).unwrap();
    for from in [SecretSource::Env("NPM_TOKEN".into()), SecretSource::File("token".into())] {
        let secrets = gather(directory.path(), &[secret("npm", from, SecretForm::Env)]).unwrap();
        assert_eq!(secrets.environment()[OsStr::new("TOKEN")], VALUE);
        assert!(secrets.directory().is_none());
        assert_eq!(secrets.masker().mask_text(VALUE), "***");
        assert!(!format!("{secrets:?}").contains("canary"));
    }
}

#[test]
fn a_secret_reaches_a_file_that_goes_after_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let from = SecretSource::Env("NPM_TOKEN".into());
    let secrets = gather(directory.path(), &[secret("a/b", from, SecretForm::File)]).unwrap();
    let path = PathBuf::from(&secrets.environment()[OsStr::new("TOKEN")]);
    assert_eq!(fs::read_to_string(&path).unwrap(), VALUE);
    let room = secrets.directory().unwrap().to_owned();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(&room)), (0o400, 0o700));
    assert!(path.starts_with(&room) && room.starts_with(memory().unwrap_or(directory.path())));
    drop(secrets);
    assert!(!room.exists());
}

#[test]
fn what_a_killed_run_left_is_removed() {
    let parent = tempfile::tempdir().unwrap();
    let used = Room::new(parent.path()).unwrap();
    // As a kill does: the lock is gone, the directory is not.
    let killed = Room::new(parent.path()).unwrap();
    let stale = killed.directory.keep();
    fs::write(stale.join("0-npm"), VALUE).unwrap();
    drop(killed._lock);
    let other = parent.path().join("ocibuild-secrets-other");
    fs::create_dir(&other).unwrap();
    let _next = Room::new(parent.path()).unwrap();
    assert!(!stale.exists());
    assert!(used.directory.path().exists() && other.exists());
}

#[test]
fn a_missing_secret_is_told_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().display();
    let env = |name: &str| SecretSource::Env(name.into());
    for (from, message) in [
        (env("ABSENT"), "there is no secret `npm`: the environment variable `ABSENT` is not there".into()),
        (env("EMPTY"), "there is no secret `npm`: the environment variable `EMPTY` is empty".into()),
        (
            SecretSource::File("token".into()),
            format!("there is no secret `npm`: the file `{root}/token` is not there"),
        ),
    ] {
        let mut wanted = secret("npm", from, SecretForm::Env);
        let error = gather(directory.path(), std::slice::from_ref(&wanted)).unwrap_err();
        assert_eq!(error.to_string(), message);
        wanted.is_optional = true;
        let absent = |secret: &PlannedSecret| {
            absent_secrets(std::slice::from_ref(secret), directory.path(), &variable).len()
        };
        let there = PlannedSecret { from: env("NPM_TOKEN"), ..wanted.clone() };
        let required = PlannedSecret { is_optional: false, ..wanted.clone() };
        assert_eq!([&wanted, &there, &required].map(absent), [1, 0, 0]);
        let secrets = gather(directory.path(), &[wanted]).unwrap();
        assert!(secrets.environment().is_empty());
    }
}

#[test]
fn what_cannot_be_hidden_is_not_handed_over() {
    let directory = tempfile::tempdir().unwrap();
    let short = secret("pin", SecretSource::Env("SHORT".into()), SecretForm::Env);
    let error = gather(directory.path(), &[short]).unwrap_err();
    assert_eq!(error.to_string(), "the secret `pin` cannot be used");
    assert_eq!(
        error.source().unwrap().to_string(),
        "a value of less than 4 characters cannot be kept out of logs"
    );
    fs::write(directory.path().join("zero"), format!("{VALUE}\0")).unwrap();
    let zero = secret("zero", SecretSource::File("zero".into()), SecretForm::Env);
    let error = gather(directory.path(), &[zero]).unwrap_err();
    assert!(matches!(error, SecretError::Zero { .. }) && !format!("{error:?}").contains("canary"));
}
