//! Stores of clouds by URL: made from options, without a network. Servers on this machine give the answers that a cloud gives.

use coldpress_std::archive::{ArchiveError, ArchiveLocation};

/// A kind of store, as a user names it.
struct Cloud {
    feature: &'static str,
    is_built: bool,
    url: &'static str,
    /// The credentials, and the account.
    options: &'static [(&'static str, &'static str)],
}

const CLOUDS: [Cloud; 3] = [
    Cloud {
        feature: "aws",
        is_built: cfg!(feature = "aws"),
        url: "s3://backups/a/b",
        options: &[
            ("aws_region", "eu-central-1"),
            ("aws_access_key_id", "id"),
            ("aws_secret_access_key", "secret"),
            ("aws_allow_http", "true"),
        ],
    },
    Cloud {
        feature: "gcp",
        is_built: cfg!(feature = "gcp"),
        url: "gs://backups/a/b",
        options: &[("google_bearer_token", "token"), ("google_allow_http", "true")],
    },
    Cloud {
        feature: "azure",
        is_built: cfg!(feature = "azure"),
        url: "az://backups/a/b",
        options: &[
            ("azure_storage_account_name", "account"),
            ("azure_storage_account_key", "a2V5"),
            ("azure_allow_http", "true"),
        ],
    },
];

impl Cloud {
    /// Opens its place with more options.
    fn open(&self, more: &[(&str, &str)]) -> Result<ArchiveLocation, ArchiveError> {
        open(self.url, &[self.options, more].concat())
    }
}

fn open(url: &str, options: &[(&str, &str)]) -> Result<ArchiveLocation, ArchiveError> {
    let owned = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    ArchiveLocation::from_url_with(url, owned)
}

#[test]
fn url_of_a_cloud_makes_its_store_or_names_the_feature() {
    for cloud in CLOUDS {
        let opened = cloud.open(&[]);
        if cloud.is_built {
            let location = opened.unwrap();
            assert_eq!(location.prefix.as_ref(), "a/b");
            assert!(location.store.to_string().contains("backups"), "{}", location.store);
            continue;
        }
        let refused = opened.unwrap_err();
        let text = refused.to_string();
        let is_named = matches!(refused, ArchiveError::NotBuilt { feature } if feature == cloud.feature);
        assert!(is_named && text.contains(&format!("`{}`", cloud.feature)), "{text}");
    }
}

#[test]
fn url_of_another_server_is_refused_without_a_feature() {
    let refused = open("https://example.com/backups", &[]).unwrap_err();
    assert!(matches!(refused, ArchiveError::Store(_)), "{refused:?}");
}

#[cfg(all(feature = "aws", feature = "azure", feature = "gcp"))]
mod built {
    use core::future::Future;
    use core::net::SocketAddr;
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::thread::JoinHandle;

    use coldpress_std::archive::object_store::{Error, PutMode, PutOptions, PutResult};
    use coldpress_std::archive::{self, ArchiveError, ArchiveLocation};

    use super::{CLOUDS, Cloud, open};

    /// A URL, its options, and a part of the reason for which they are refused.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

    fn wait<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    /// A server that gives each request the next answer, and then ends with the requests, in lower case.
    fn serve(answers: Vec<(u16, &'static str)>) -> (SocketAddr, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = move |(status, body): (u16, &str)| {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read_request(&mut stream);
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status} -\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
            request
        };
        (address, std::thread::spawn(move || answers.into_iter().map(answer).collect()))
    }

    /// The line and the headers of a request, whose body is read too.
    fn read_request(stream: &mut TcpStream) -> String {
        let mut lines = BufReader::new(stream);
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            assert!(lines.read_line(&mut request).unwrap() > 0, "it ends early: {request}");
        }
        let request = request.to_lowercase();
        let length =
            request.split_once("content-length: ").map_or("0", |(_, rest)| rest.lines().next().unwrap());
        lines.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
        request
    }

    /// A place whose requests go to a server on this machine.
    fn at(cloud: &Cloud, address: SocketAddr, more: &[(&str, &str)]) -> ArchiveLocation {
        let url = match cloud.feature {
            "azure" => format!("http://{address}/account"),
            _ => format!("http://{address}"),
        };
        let endpoint = match cloud.feature {
            "aws" => "aws_endpoint",
            "gcp" => "google_base_url",
            _ => "azure_endpoint",
        };
        cloud.open(&[&[(endpoint, url.as_str())][..], more].concat()).unwrap()
    }

    /// A listing without objects.
    fn nothing_listed(cloud: &Cloud) -> &'static str {
        match cloud.feature {
            "azure" => "<EnumerationResults><Blobs></Blobs><NextMarker/></EnumerationResults>",
            _ => "<ListBucketResult></ListBucketResult>",
        }
    }

    fn claim(location: &ArchiveLocation) -> Result<PutResult, Error> {
        let path = location.prefix.clone().join("claim");
        wait(location.store.put_opts(&path, "bytes".into(), PutOptions::from(PutMode::Create)))
    }

    #[test]
    fn wrong_options_of_a_cloud_are_refused_at_once() {
        let twice = [("google_service_account", "/nowhere"), ("google_service_account_key", "{}")];
        let cases: [Case<'_>; 9] = [
            ("gs:///backups", &[], "gs:///backups"),
            ("gs://backups/a", &twice, "service account"),
            ("gs://backups/a", &[("google_service_account", "/nowhere/key")], "/nowhere/key"),
            ("gs://backups/a", &[("google_service_account_key", "no json")], "credential"),
            ("gs://backups/a", &[("google_bearer_token", "t"), ("google_timeout", "soon")], "soon"),
            ("az:///backups", &[], "az:///backups"),
            ("az://backups/a", &[("azure_storage_account_key", "a2V5")], "ccount"),
            ("az://backups.example.com/a", &[("azure_storage_account_name", "n")], "backups.example.com"),
            (
                "az://backups/a",
                &[("azure_storage_account_name", "n"), ("azure_storage_account_key", "no base64")],
                "Access Key",
            ),
        ];
        for (url, options, reason) in cases {
            let refused = open(url, options).unwrap_err();
            assert!(matches!(refused, ArchiveError::Store(_)), "{url}: {refused:?}");
            assert!(refused.to_string().contains(reason), "{url}: {refused}");
        }
    }

    #[test]
    fn failed_request_is_repeated_in_each_cloud() {
        for cloud in CLOUDS {
            let (address, served) = serve(vec![(503, ""), (500, ""), (200, nothing_listed(&cloud))]);
            let location = at(&cloud, address, &[]);
            let listed = wait(archive::list(location.store.as_ref(), &location.prefix)).unwrap();
            assert!(listed.backups.is_empty() && listed.damages.is_empty());
            let requests = served.join().unwrap();
            let lines: Vec<_> = requests.iter().map(|request| request.lines().next().unwrap()).collect();
            assert!(lines.iter().all(|line| *line == lines[0] && line.starts_with("get ")), "{lines:?}");
            assert!(lines[0].contains("backups") && lines[0].contains("manifests"), "{lines:?}");
        }
    }

    #[test]
    fn claimed_name_is_refused_by_a_condition_in_each_cloud() {
        for cloud in CLOUDS {
            let (address, served) = serve(vec![(412, "")]);
            let refused = claim(&at(&cloud, address, &[])).unwrap_err();
            assert!(matches!(refused, Error::AlreadyExists { .. }), "{}: {refused:?}", cloud.feature);
            let condition = match cloud.feature {
                "gcp" => "\r\nx-goog-if-generation-match: 0\r\n",
                _ => "\r\nif-none-match: *\r\n",
            };
            let requests = served.join().unwrap();
            assert!(requests[0].starts_with("put ") && requests[0].contains(condition), "{}", requests[0]);
        }
    }

    #[test]
    fn claim_without_an_answer_is_not_repeated_in_any_cloud() {
        for cloud in CLOUDS {
            // It takes connections into its queue, and never answers.
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let timeout = match cloud.feature {
                "aws" => "aws_timeout",
                "gcp" => "google_timeout",
                _ => "azure_timeout",
            };
            let location = at(&cloud, listener.local_addr().unwrap(), &[(timeout, "500ms")]);
            let failed = claim(&location).unwrap_err();
            assert!(matches!(failed, Error::Generic { .. }), "{}: {failed:?}", cloud.feature);
            listener.set_nonblocking(true).unwrap();
            let connections = core::iter::from_fn(|| listener.accept().ok()).count();
            assert_eq!(connections, 1, "{}", cloud.feature);
        }
    }
}
