//! `vault-transit:KEY`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::names::{check_name, check_path};
use crate::backend::kek_uri::{
    Clients, Endpoint, KeyManagers, Options, Parse, Place, Reads, Scheme, UriOption,
};
use crate::envelope::KekRef;
use crate::key::KekAdmin;
use crate::runtime::Environment;
use crate::value::error::{Error, Result};

pub(in crate::backend) const SCHEME: Scheme = Scheme {
    name: "vault-transit",
    provider: super::PROVIDER,
    form: "vault-transit:KEY",
    summary: "a key of HashiCorp Vault or OpenBao Transit",
    options: &[
        UriOption::new("addr", "URL", "the address of the server (default: VAULT_ADDR)"),
        UriOption::new("mount", "PATH", "where Transit is mounted (default transit)"),
        UriOption::new("namespace", "PATH", "the namespace (default: VAULT_NAMESPACE)"),
        UriOption::new(
            "auth",
            "token|approle|kubernetes|jwt",
            "how to log in (default token)",
        ),
        UriOption::new("role", "ROLE", "the role, or the role id of an AppRole"),
        UriOption::new("auth-mount", "PATH", "where the login is mounted below auth/"),
        UriOption::new("jwt-file", "PATH", "a file with the token of auth=jwt"),
        UriOption::new(
            "mode",
            "encrypt|datakey",
            "with a key that is not derived (default), or with a derived key",
        ),
    ],
    variables: &[
        "VAULT_ADDR",
        "VAULT_NAMESPACE",
        "VAULT_CACERT",
        "VAULT_TOKEN",
        "VAULT_SECRET_ID",
        "VAULT_JWT",
    ],
    parse: Parse::Place(|place, options| Ok(Arc::new(VaultUri::parse(place, options)?))),
};

#[async_trait]
impl Place for VaultUri {
    async fn open(&self, environment: &dyn Environment) -> Result<KeyManagers> {
        self.open_now(environment).await
    }

    async fn open_sharing(&self, environment: &dyn Environment, clients: &Clients) -> Result<KeyManagers> {
        let connecting = self.connect(environment);
        self.open_with(&clients.of(self.connection(), connecting).await?)
    }

    fn client(&self) -> Option<String> {
        Some(self.connection())
    }

    async fn open_admin(&self, environment: &dyn Environment) -> Result<Arc<dyn KekAdmin>> {
        let admin = self.connect(environment).await?.admin();
        Ok(Arc::new(admin.with_mount(&self.mount)?.with_mode(self.mode())))
    }

    fn sibling(&self, _: &str, kek: &KekRef) -> Option<String> {
        let name = kek.id().rsplit_once("/keys/")?.1;
        check_name(name).ok().map(|()| name.to_owned())
    }

    fn reads(&self) -> Vec<Reads> {
        self.jwt_file
            .iter()
            .map(|path| Reads::File(path.into()))
            .collect()
    }
}

/// What the URI says; the rest is in the variables that Vault's own tools read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct VaultUri {
    key: String,
    mount: String,
    address: Option<Endpoint>,
    namespace: Option<String>,
    auth: Login,
    auth_mount: Option<String>,
    jwt_file: Option<String>,
    role: Option<String>,
    derived: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Login {
    Token,
    AppRole,
    Kubernetes,
    Jwt,
}

impl VaultUri {
    fn parse(key: &str, options: &mut Options<'_>) -> Result<Self> {
        if key.is_empty() {
            return Err(Error::argument("vault-transit: has no key name"));
        }
        let auth = match options.take("auth") {
            None | Some("token") => Login::Token,
            Some("approle") => Login::AppRole,
            Some("kubernetes") => Login::Kubernetes,
            Some("jwt") => Login::Jwt,
            Some(_) => return Err(Error::argument("auth is token, approle, kubernetes or jwt")),
        };
        let role = options.take("role").map(str::to_owned);
        match (auth, &role) {
            (Login::Token, Some(_)) => return Err(Error::argument("role does not go with auth=token")),
            (Login::AppRole | Login::Kubernetes | Login::Jwt, None) => {
                return Err(Error::argument(
                    "role is missing: auth=approle, kubernetes and jwt need one",
                ));
            }
            _ => {}
        }
        let auth_mount = match auth {
            Login::Token => None,
            _ => options.text("auth-mount")?,
        };
        let jwt_file = match auth {
            Login::Jwt => options.text("jwt-file")?,
            _ => None,
        };
        let derived = match options.take("mode") {
            None | Some("encrypt") => false,
            Some("datakey") => true,
            Some(_) => return Err(Error::argument("mode is encrypt or datakey")),
        };
        let argument = |error: Error| Error::argument(error.detail().unwrap_or_default().to_owned());
        let mount = match options.take("mount") {
            Some(mount) => check_path(mount, options.source("mount", "mount=")).map_err(argument)?,
            None => "transit".to_owned(),
        };
        Ok(Self {
            key: key.to_owned(),
            mount,
            address: options.endpoint("addr", "addr=", true)?,
            namespace: options.take("namespace").map(str::to_owned),
            auth,
            auth_mount,
            jwt_file,
            role,
            derived,
        })
    }
}

mod opening {
    use secrecy::SecretString;

    use super::{Login, VaultUri};
    use crate::backend::kek_uri::KeyManagers;
    use crate::backend::vault_transit::{Auth, Client, Config, JwtSource, Mode};
    use crate::runtime::{Environment, required_var};
    use crate::value::error::Result;

    impl VaultUri {
        pub(super) fn mode(&self) -> Mode {
            match self.derived {
                true => Mode::DataKey,
                false => Mode::Encrypt,
            }
        }

        pub(super) async fn open_now(&self, environment: &dyn Environment) -> Result<KeyManagers> {
            self.open_with(&self.connect(environment).await?)
        }

        /// Everything that the client depends on, and no more.
        pub(super) fn connection(&self) -> String {
            let connection = Self {
                key: String::new(),
                mount: String::new(),
                derived: false,
                ..self.clone()
            };
            format!("{connection:?}")
        }

        pub(super) fn open_with(&self, client: &Client) -> Result<KeyManagers> {
            let keys = client
                .key(&self.key)?
                .with_mount(&self.mount)?
                .with_mode(self.mode());
            let id = keys.kek_id().to_owned();
            let admin = client.admin().with_mount(&self.mount)?.with_mode(self.mode());
            KeyManagers::one(keys).administered(&id, admin)
        }

        pub(super) async fn connect(&self, environment: &dyn Environment) -> Result<Client> {
            let auth = self.auth(environment)?;
            let environment = WithAddress {
                environment,
                address: self.address.as_ref().map(|address| address.url.as_str()),
            };
            let mut config = Config::from_environment_with(&environment, auth)?;
            if let Some(address) = &self.address {
                config = config.with_address_source(address.source);
            }
            if let Some(namespace) = &self.namespace {
                config = config.with_namespace(namespace);
            }
            Client::connect(config).await
        }

        fn auth(&self, environment: &dyn Environment) -> Result<Auth> {
            let role = self.role.clone().unwrap_or_default();
            let auth = match self.auth {
                Login::Token => Auth::token(required_var(environment, "VAULT_TOKEN", "a token")?),
                Login::AppRole => Auth::approle(
                    role,
                    required_var(environment, "VAULT_SECRET_ID", "the secret id of the role")?,
                ),
                Login::Kubernetes => Auth::kubernetes(role),
                Login::Jwt => Auth::jwt(
                    role,
                    match &self.jwt_file {
                        Some(file) => JwtSource::File(file.into()),
                        None => JwtSource::Fixed(required_var(environment, "VAULT_JWT", "the signed token")?),
                    },
                ),
            };
            Ok(match &self.auth_mount {
                Some(mount) => auth.at(mount),
                None => auth,
            })
        }
    }

    /// The environment, with the address of the URI instead of its own address.
    #[derive(Debug)]
    struct WithAddress<'e> {
        environment: &'e dyn Environment,
        address: Option<&'e str>,
    }

    impl Environment for WithAddress<'_> {
        fn var(&self, name: &str) -> Result<Option<SecretString>> {
            match self.address {
                Some(address) if name == "VAULT_ADDR" => Ok(Some(address.into())),
                _ => self.environment.var(name),
            }
        }
    }

    #[cfg(all(test, feature = "testing"))]
    mod tests {
        use super::*;
        use crate::testing::FakeEnvironment;

        #[test]
        fn a_login_has_its_mount_and_its_token() {
            let environment = FakeEnvironment::new()
                .with("VAULT_SECRET_ID", "CANARY")
                .with("VAULT_JWT", "CANARY");
            for (options, expected) in [
                (
                    "auth=jwt&role=app&jwt-file=/run/jwt&auth-mount=sso/jwt",
                    r#"Jwt { mount: "sso/jwt", role: "app", jwt: File("/run/jwt") }"#,
                ),
                (
                    "auth=jwt&role=app",
                    r#"Jwt { mount: "jwt", role: "app", jwt: Fixed(..) }"#,
                ),
                (
                    "auth=approle&role=r&auth-mount=apps",
                    r#"AppRole { mount: "apps", .. }"#,
                ),
                (
                    "auth=kubernetes&role=r&auth-mount=k8s-eu",
                    r#"Kubernetes { mount: "k8s-eu", role: "r", jwt: File("/var/run/secrets/kubernetes.io/serviceaccount/token") }"#,
                ),
            ] {
                let mut options =
                    crate::backend::kek_uri::Options::parse(options, &super::super::SCHEME).unwrap();
                let uri = VaultUri::parse("orders", &mut options).unwrap();
                assert_eq!(format!("{:?}", uri.auth(&environment).unwrap()), expected);
            }
            // With a file the variable is not needed.
            let mut options = crate::backend::kek_uri::Options::parse(
                "auth=jwt&role=app&jwt-file=/run/jwt",
                &super::super::SCHEME,
            )
            .unwrap();
            let uri = VaultUri::parse("orders", &mut options).unwrap();
            assert!(uri.auth(&FakeEnvironment::new()).is_ok());
        }
    }
}

impl fmt::Display for VaultUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vault-transit:{}", self.key.escape_debug())
    }
}
