//! From an address to the operator of its service.

use std::time::Duration;

use opendal_core::{Error, ErrorKind, HttpTransporter, OperationContext, Operator, Result};
use opendal_layer_retry::RetryLayer;
use opendal_layer_timeout::TimeoutLayer;
use opendal_service_azblob::Azblob;
use opendal_service_gcs::Gcs;
use opendal_service_ghac::Ghac;
use opendal_service_redis::Redis;
use opendal_service_s3::S3;

use crate::access::Access;
use crate::address::{Kind, ObjectAddress};
use crate::http::Transport;

/// How long a question may take, and moving a part of a blob.
const QUESTION: Duration = Duration::from_secs(10);
const PART: Duration = Duration::from_secs(60);

/// GitHub's namespace for entries: another form of ours would be another.
const GHA_VERSION: &str = "ocibuild-v1";

/// Opens a service; nothing is asked yet.
pub(crate) fn open(address: &ObjectAddress, access: &Access) -> Result<Operator> {
    let root = format!("/{}", address.prefix);
    let operator = match &address.kind {
        Kind::S3 { bucket, region, endpoint, is_virtual } => {
            let endpoint = endpoint.as_deref();
            Operator::new(s3(bucket, region.as_deref(), endpoint, *is_virtual, access)?.root(&root))
        }
        Kind::Gcs { bucket, endpoint } => Operator::new(gcs(bucket, endpoint.as_deref(), access).root(&root)),
        Kind::Azblob { container, account, endpoint } => {
            Operator::new(azblob(container, account.as_deref(), endpoint.as_deref(), access)?.root(&root))
        }
        Kind::Redis { is_secure, host, port, db } => {
            let scheme = if *is_secure { "rediss" } else { "redis" };
            let redis = Redis::default().endpoint(&format!("{scheme}://{host}:{port}")).db(*db);
            let redis = redis.username(access.variable("REDIS_USERNAME").unwrap_or_default());
            Operator::new(redis.password(access.variable("REDIS_PASSWORD").unwrap_or_default()).root(&root))
        }
        Kind::Gha => Operator::new(gha(access)?.root(&root)),
    }?;
    let transport = HttpTransporter::new(Transport(access.requests.clone()));
    Ok(patient(operator.with_context(OperationContext::new().with_http_transport(transport))))
}

/// Tries again what may pass, each time within bounds.
pub(crate) fn patient(operator: Operator) -> Operator {
    let retry = RetryLayer::new().with_jitter().with_max_times(3);
    let retry = retry.with_min_delay(Duration::from_millis(200)).with_max_delay(Duration::from_secs(2));
    operator.layer(TimeoutLayer::new().with_timeout(QUESTION).with_io_timeout(PART)).layer(retry)
}

fn lacks(what: &str) -> Error {
    Error::new(ErrorKind::ConfigInvalid, what)
}

fn s3(
    bucket: &str,
    region: Option<&str>,
    endpoint: Option<&str>,
    is_virtual: Option<bool>,
    access: &Access,
) -> Result<S3> {
    let endpoint = endpoint.or_else(|| access.first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]));
    let region = region.or_else(|| access.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
    // Who speaks like S3 elsewhere mostly doesn't care.
    let region = region.or_else(|| endpoint.map(|_| "us-east-1"));
    let region = region
        .ok_or_else(|| lacks("the bucket's region isn't known: add `?region=…`, or set `AWS_REGION`"))?;
    let mut s3 = S3::default().bucket(bucket).region(region);
    if let Some(endpoint) = endpoint {
        s3 = s3.endpoint(endpoint);
    }
    // Amazon wants the bucket in the host's name; others mostly have no such names. No certificate
    // is for a name with more dots.
    if is_virtual.unwrap_or(endpoint.is_none() && !bucket.contains('.')) {
        s3 = s3.enable_virtual_host_style();
    }
    let key = access.variable("AWS_ACCESS_KEY_ID").zip(access.variable("AWS_SECRET_ACCESS_KEY"));
    if let Some((id, secret)) = key {
        s3 = s3.access_key_id(id).secret_access_key(secret);
        s3 = s3.session_token(access.variable("AWS_SESSION_TOKEN").unwrap_or_default());
    }
    // Where there is no such cloud, asking it takes until the question's time is over.
    if access.variable("AWS_EC2_METADATA_DISABLED").is_some_and(|said| said.eq_ignore_ascii_case("true")) {
        s3 = s3.disable_ec2_metadata();
    }
    let is_given = key.is_some() || !access.machine;
    Ok(if is_given { s3.disable_config_load().disable_ec2_metadata() } else { s3 })
}

fn gcs(bucket: &str, endpoint: Option<&str>, access: &Access) -> Gcs {
    let mut gcs = Gcs::default().bucket(bucket);
    if let Some(endpoint) = endpoint {
        gcs = gcs.endpoint(endpoint);
    }
    if let Some(path) = access.variable("GOOGLE_APPLICATION_CREDENTIALS") {
        gcs = gcs.credential_path(path);
    }
    if let Some(token) = access.variable("GOOGLE_OAUTH_ACCESS_TOKEN") {
        gcs = gcs.token(token.to_owned());
    }
    if access.machine { gcs } else { gcs.disable_config_load().disable_vm_metadata() }
}

fn azblob(container: &str, account: Option<&str>, endpoint: Option<&str>, access: &Access) -> Result<Azblob> {
    let account = account.or_else(|| access.variable("AZURE_STORAGE_ACCOUNT"));
    let own = account.map(|account| format!("https://{account}.blob.core.windows.net"));
    let endpoint = endpoint.map(str::to_owned).or(own);
    let endpoint = endpoint.ok_or_else(|| {
        lacks("the storage account isn't known: add `?account=…`, or set `AZURE_STORAGE_ACCOUNT`")
    })?;
    let mut azblob = Azblob::default().container(container).endpoint(&endpoint);
    if let Some(account) = account {
        azblob = azblob.account_name(account);
    }
    let key = access.variable("AZURE_STORAGE_KEY");
    let sas = access.variable("AZURE_STORAGE_SAS_TOKEN");
    if let Some(key) = key {
        azblob = azblob.account_key(key);
    }
    if let Some(sas) = sas {
        azblob = azblob.sas_token(sas.trim_start_matches('?'));
    }
    if key.is_none() && sas.is_none() && !access.machine {
        azblob = azblob.skip_signature();
    }
    Ok(azblob)
}

fn gha(access: &Access) -> Result<Ghac> {
    let token = access.variable("ACTIONS_RUNTIME_TOKEN");
    let place = access.first(&["ACTIONS_RESULTS_URL", "ACTIONS_CACHE_URL"]);
    if token.is_none() || place.is_none() {
        return Err(lacks(
            "`ACTIONS_RUNTIME_TOKEN` and `ACTIONS_RESULTS_URL` aren't set: GitHub has them for actions only, \
             and an action such as `crazy-max/ghaction-github-runtime` hands them on to steps",
        ));
    }
    // Which of the two addresses counts, the client decides by the runner's own variables.
    Ok(Ghac::default().version(GHA_VERSION).runtime_token(token.unwrap_or_default()))
}
