//! `ocibuild lock`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use ocibuild_core::base::BaseError;
use ocibuild_core::lock::{Change, Pin};
use ocibuild_core::plan::Plan;
use ocibuild_core::{BuildError, Builder, Cancel, Lock, Platform, Reference};

use crate::failure::{BuildFailure, Failure};
use crate::lock_file::LockFile;
use crate::options::Options;
use crate::progress::Reporter;
use crate::signals::Stop;
use crate::source::{ImageFlags, Source};
use crate::static_base::Builtins;
use crate::{exit, host, parse, registry, text};

/// Pin the bases that a spec names by tags
///
/// Finds out what the tags mean, and writes that into `ocibuild.lock` beside `ocibuild.toml` (with
/// another name of the spec, another of the lock), to be committed with it. From then on builds use
/// these images, and ask no registry what the tags mean. What the lock has already stays as it is;
/// what the spec doesn't name any more is dropped. Bases named with a digest need no entry.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LockArgs {
    /// The spec file [default: ocibuild.toml]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Give a variable of the spec a value
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::pair)]
    var: Vec<(String, String)>,

    /// Find out anew what tags mean, those of all bases or of the images named, which may be the
    /// spec's own or bases
    #[arg(
        long,
        value_name = "IMAGE",
        num_args = 0..,
        value_parser = NonEmptyStringValueParser::new(),
        conflicts_with = "check"
    )]
    update: Option<Vec<String>>,

    /// Write nothing; fail if the lock lacks something, or a tag has moved
    #[arg(long)]
    check: bool,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild lock
  ocibuild lock --update
  ocibuild lock --update api
  ocibuild lock --check

Exit codes: 0 done; 1 from `--check`: the lock isn't what it should be; 2 the spec or the lock is
faulty; 4 a registry fails.";

type Wanted = BTreeMap<Reference, BTreeSet<Platform>>;

/// Writes the lock, or checks it.
///
/// # Errors
/// [`Failure`].
pub(crate) fn run(args: &LockArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let vars = args.var.iter().cloned().collect();
    let source = Source::find(args.file.clone(), ImageFlags::default(), &[], &vars)?;
    let file = LockFile::of(&source)?;
    let stop = Stop::on_signals()?;
    let locker = Locker { source: &source, options, reporter, cancel: stop.cancel(), file: &file };
    locker.work(args)
}

struct Locker<'a> {
    source: &'a Source,
    options: &'a Options,
    reporter: &'a Reporter,
    cancel: Cancel,
    file: &'a LockFile,
}

impl Locker<'_> {
    fn work(&self, args: &LockArgs) -> Result<(), Failure> {
        let builtins = Builtins::new(None);
        let builder = self.builder(&builtins)?;
        let plan = builder
            .plan(&self.source.spec)
            .map_err(|error| Failure::plan(error, self.source.file.as_ref()))?;
        let mut wanted = plan.remote_bases();
        wanted.retain(|reference, _| reference.digest().is_none());
        let builder = match wanted.is_empty() {
            true => builder,
            false => builder.registry(registry::open_for(
                &plan,
                (false, None),
                self.options,
                self.reporter,
                &self.cancel,
            )?),
        };
        if args.check {
            return self.check(&wanted, &builder);
        }
        let stale = self.stale(args.update.as_deref(), &plan, &wanted)?;
        let new = self.renew(&wanted, &stale, &builder)?;
        let changes = self.file.lock.changes(&new);
        self.file.write(&new)?;
        self.reporter.clear();
        let name = self.file.shown();
        match changes.is_empty() {
            true => text::print(&format!("{name}: nothing changed\n")),
            false => text::print(&changes.iter().map(|change| line(change) + "\n").collect::<String>()),
        }
    }

    fn builder<'b>(&'b self, builtins: &'b Builtins) -> Result<Builder<'b>, Failure> {
        let builder = Builder::new(&self.source.root, self.options.cache_directory()?)
            .observer(self.reporter)
            .cancel(self.cancel.clone())
            .host(host::name())
            .builtins(|name, version| builtins.get(name, version));
        Ok(self.source.name.iter().fold(builder, Builder::name))
    }

    /// The references whose tags are to be asked for though the lock has them.
    fn stale(
        &self,
        update: Option<&[String]>,
        plan: &Plan,
        wanted: &Wanted,
    ) -> Result<BTreeSet<Reference>, Failure> {
        let Some(names) = update else { return Ok(BTreeSet::new()) };
        if names.is_empty() {
            return Ok(wanted.keys().cloned().collect());
        }
        let mut stale = BTreeSet::new();
        for name in names {
            if let Some(image) = plan.images.iter().find(|image| image.name == *name) {
                let mut only = plan.clone();
                only.images = vec![image.clone()];
                stale.extend(only.remote_bases().into_keys());
                continue;
            }
            let reference = name.parse::<Reference>().ok().map(Reference::or_latest);
            match reference.filter(|reference| wanted.contains_key(reference)) {
                Some(reference) => stale.insert(reference),
                None => {
                    let message = format!("the spec has no image `{name}`, nor a base of that name and tag");
                    let known: Vec<String> = wanted.keys().map(|known| format!("`{known}`")).collect();
                    let hint = match known.is_empty() {
                        true => "no image of the spec has a base that is named by a tag".to_owned(),
                        false => format!("its bases are {}", known.join(", ")),
                    };
                    return Err(Failure::usage(message).with_hint(hint));
                }
            };
        }
        Ok(stale)
    }

    fn renew(
        &self,
        wanted: &Wanted,
        stale: &BTreeSet<Reference>,
        builder: &Builder<'_>,
    ) -> Result<Lock, Failure> {
        let mut new = Lock::new();
        for (reference, platforms) in wanted {
            let known = self.file.lock.get(reference).filter(|_| !stale.contains(reference));
            let pin = match known {
                Some(pin) if covers(pin, platforms) => only(pin, platforms),
                known => self.pin(reference, known, platforms, builder)?,
            };
            new.insert(reference.clone(), pin);
        }
        Ok(new)
    }

    fn pin(
        &self,
        reference: &Reference,
        known: Option<&Pin>,
        platforms: &BTreeSet<Platform>,
        builder: &Builder<'_>,
    ) -> Result<Pin, Failure> {
        let root = match known {
            Some(pin) => Ok(pin.root.clone()),
            None => builder.resolve_base(reference).map_err(BaseError::from),
        };
        let pin = root.and_then(|root| builder.pin(reference, &root, platforms.iter().cloned()));
        pin.map_err(|error| self.failure(reference, error))
    }

    fn failure(&self, reference: &Reference, error: BaseError) -> Failure {
        let base = reference.to_string();
        let error = BuildError::Base { base, span: None, source: Box::new(error) };
        let (root, file) = (self.source.shown_root(), self.source.file.clone());
        let cache = self.options.cache_directory().unwrap_or_default();
        Failure::Build(Box::new(BuildFailure { error, file, root, cache, asks_caches: false })).settled()
    }

    fn check(&self, wanted: &Wanted, builder: &Builder<'_>) -> Result<(), Failure> {
        let mut faults = Vec::new();
        for (reference, platforms) in wanted {
            let Some(pin) = self.file.lock.get(reference) else {
                faults.push(format!("{reference}: not in the lock"));
                continue;
            };
            for platform in platforms.iter().filter(|platform| !pin.images.contains_key(platform)) {
                faults.push(format!("{reference}: not in the lock for {platform}"));
            }
            let now = builder.resolve_base(reference);
            let now = now.map_err(|error| self.failure(reference, error.into()))?.digest;
            let locked = pin.root.digest;
            if now != locked {
                faults.push(format!("{reference}: moved from {locked} to {now}"));
            }
        }
        self.reporter.clear();
        if faults.is_empty() {
            return Ok(());
        }
        text::print(&faults.iter().map(|fault| format!("{fault}\n")).collect::<String>())?;
        Err(Failure::Told { code: exit::FAILURE })
    }
}

fn covers(pin: &Pin, platforms: &BTreeSet<Platform>) -> bool {
    platforms.iter().all(|platform| pin.images.contains_key(platform))
}

fn only(pin: &Pin, platforms: &BTreeSet<Platform>) -> Pin {
    let mut pin = pin.clone();
    pin.images.retain(|platform, _| platforms.contains(platform));
    pin
}

fn line(change: &Change) -> String {
    let list =
        |platforms: &[Platform]| platforms.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ");
    match change {
        Change::Added { reference, to } => format!("{reference}: added, {to}"),
        Change::Removed { reference, from } => format!("{reference}: dropped, was {from}"),
        Change::Moved { reference, from, to } => format!("{reference}: {from} -> {to}"),
        Change::Platforms { reference, added, removed } => {
            let added = (!added.is_empty()).then(|| format!("added {}", list(added)));
            let removed = (!removed.is_empty()).then(|| format!("dropped {}", list(removed)));
            let parts: Vec<String> = added.into_iter().chain(removed).collect();
            format!("{reference}: {}", parts.join(", "))
        }
        other => format!("{other:?}"),
    }
}
