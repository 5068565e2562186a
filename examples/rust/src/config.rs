//! What the service is told by its file: lines `name = value`.

use std::str::FromStr;

/// The configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// The port that it listens on.
    pub port: u16,
    /// What it says.
    pub greeting: String,
}

impl FromStr for Config {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut config = Self { port: 8080, greeting: "hello".to_owned() };
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            config.set(line).ok_or_else(|| format!("line {} can't be understood: {line}", index + 1))?;
        }
        Ok(config)
    }
}

impl Config {
    fn set(&mut self, line: &str) -> Option<()> {
        let (name, value) = line.split_once('=')?;
        match name.trim() {
            "port" => self.port = value.trim().parse().ok()?,
            "greeting" => self.greeting = value.trim().to_owned(),
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let config: Config = "# a comment\n\nport = 81\ngreeting = good day\n".parse().unwrap();
        assert_eq!(config, Config { port: 81, greeting: "good day".to_owned() });
    }

    #[test]
    fn faults_are_told_with_their_line() {
        let error = "port = 81\ncolour = red".parse::<Config>().unwrap_err();
        assert_eq!(error, "line 2 can't be understood: colour = red");
        assert!("port = 65536".parse::<Config>().is_err());
    }
}
