//! The page, in a real browser and under load.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

use fantoccini::actions::{InputSource as _, KeyAction, KeyActions};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::client::Answer;
use crate::started::{PATIENCE, Started};

/// The browsers that Debian and others install.
const BROWSERS: [&str; 3] = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/// The driver of the browser; a drop ends both.
struct Driver {
    child: Child,
    url: String,
    browser: &'static str,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Driver {
    fn start() -> Option<Self> {
        let Some(browser) = BROWSERS.into_iter().find(|path| std::path::Path::new(path).exists()) else {
            eprintln!("SKIPPED: chromium is not installed");
            return None;
        };
        let started =
            Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut child) = started else {
            eprintln!("SKIPPED: chromedriver is not installed");
            return None;
        };
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.ok()?;
            line.contains("started successfully")
                .then(|| line.rsplit(' ').next()?.trim_end_matches('.').parse::<u16>().ok())?
        });
        // Its later lines are read too, so that it never waits for a reader.
        thread::spawn(move || lines.for_each(drop));
        let url = format!("http://127.0.0.1:{}", port.expect("a driver that says its port"));
        Some(Self { child, url, browser })
    }

    /// Opens a browser window of this width.
    async fn open(&self, width: u32, is_dark: bool) -> Client {
        let mut arguments =
            vec!["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        if is_dark {
            arguments.push("--force-dark-mode");
        }
        let capabilities = json!({
            "goog:chromeOptions": {
                "binary": self.browser,
                "args": arguments,
                "mobileEmulation": {"deviceMetrics": {"width": width, "height": 900, "pixelRatio": 1.0, "mobile": false}},
            },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!() };
        ClientBuilder::new(HttpConnector::new()).capabilities(capabilities).connect(&self.url).await.unwrap()
    }
}

async fn script(page: &Client, text: &str) -> Value {
    page.execute(text, Vec::new()).await.unwrap()
}

/// Waits until a script returns something that is true.
async fn wait_until(page: &Client, what: &str, text: &str) -> Value {
    let begun = std::time::Instant::now();
    loop {
        let value = script(page, text).await;
        if !matches!(value, Value::Null | Value::Bool(false)) {
            return value;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{what}: {}",
            script(page, "return document.body.innerText").await
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn press(page: &Client, key: char) {
    let keys = KeyActions::new("keyboard".to_owned());
    page.perform_actions(keys.then(KeyAction::Down { value: key }).then(KeyAction::Up { value: key }))
        .await
        .unwrap();
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// Overwrites values until it is stopped.
fn load(service: &Started, is_over: &AtomicBool) {
    let mut client = service.client();
    let mut bits = 1u64;
    for number in 0u64.. {
        if is_over.load(Relaxed) {
            break;
        }
        // Values that do not compress fill the log.
        let value: String = (0..100)
            .map(|_| {
                bits ^= bits << 13;
                bits ^= bits >> 7;
                bits ^= bits << 17;
                format!("{bits:016x}")
            })
            .collect();
        assert_eq!(client.run(&format!("SET {} {value}", number * 7919 % 4000)), Answer::ok());
        client.run(&format!("GET {}", number * 104_729 % 5000));
    }
}

const TAB: char = '\u{E004}';
const ENTER: char = '\u{E007}';

#[test]
fn page_under_load_shows_and_changes_figures() {
    let Some(driver) = Driver::start() else { return };
    let service = Started::with(&["--capacity", "24m", "--memory", "8m"]);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| load(&service, &is_over));
        // The load ends also where the test fails.
        let ended = std::panic::catch_unwind(|| {
            run(async {
                for (width, is_dark) in [(390, true), (1280, false)] {
                    let page = driver.open(width, is_dark).await;
                    page.goto(&format!("http://{}/", service.http)).await.unwrap();
                    figures_change(&page).await;
                    fits(&page, width).await;
                    compact_by_keyboard(&page).await;
                    page.close().await.unwrap();
                }
            });
        });
        is_over.store(true, Relaxed);
        ended.unwrap_or_else(|cause| std::panic::resume_unwind(cause));
    });
}

async fn figures_change(page: &Client) {
    let tile =
        "return [...document.querySelectorAll('#tiles dd span')].map((tile) => tile.textContent).join(' | ')";
    wait_until(page, "tiles appear", "return document.querySelectorAll('#tiles dd span').length >= 6").await;
    let hits = "const label = document.querySelector('[data-chart=hits] svg').getAttribute('aria-label');
        return /(hot|warm|cold) [1-9]/.test(label) && /missed [1-9]/.test(label) && label";
    wait_until(page, "the hit rate has tiers", hits).await;
    wait_until(
        page,
        "segments are described",
        "return /[1-9]\\d* sealed/.test(document.querySelector('#segments').getAttribute('aria-label'))",
    )
    .await;
    wait_until(page, "segments are painted", "return document.querySelector('#segments').height > 10").await;
    wait_until(
        page,
        "pages are described",
        "return /of it in use/.test(document.querySelector('#pages').getAttribute('aria-label'))",
    )
    .await;
    let before = script(page, tile).await;
    let begun = std::time::Instant::now();
    while script(page, tile).await == before {
        assert!(begun.elapsed() < PATIENCE, "figures do not change: {before}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Tables have the figures of the pictures.
    script(page, "document.querySelectorAll('details').forEach((one) => { one.open = true; })").await;
    wait_until(page, "tables are filled", "return document.querySelectorAll('[data-chart=operations] tbody tr').length >= 2 && document.querySelectorAll('#segments-table tbody tr').length >= 1").await;
}

/// Nothing is wider than the window.
async fn fits(page: &Client, width: u32) {
    assert_eq!(script(page, "return window.innerWidth").await, json!(width));
    let wide = "return [...document.querySelectorAll('main, section, .card, svg, canvas, button, dl > div')]
        .filter((one) => one.getBoundingClientRect().right > window.innerWidth + 1).map((one) => one.outerHTML.slice(0, 80))";
    assert_eq!(script(page, wide).await, json!([]));
    let scrolls = "const root = document.documentElement; return root.scrollWidth > root.clientWidth";
    assert_eq!(script(page, scrolls).await, false);
}

/// Every button is reached by the Tab key, and the Enter key starts a task.
async fn compact_by_keyboard(page: &Client) {
    script(page, "document.querySelectorAll('details').forEach((one) => { one.open = false; }); document.querySelector('h1').tabIndex = -1; document.querySelector('h1').focus();").await;
    let mut seen = Vec::new();
    for _ in 0..40 {
        press(page, TAB).await;
        let at = script(page, "return document.activeElement.dataset.task ?? ''").await;
        let at = at.as_str().unwrap_or_default().to_owned();
        let outline = script(page, "return getComputedStyle(document.activeElement).outlineStyle").await;
        if !at.is_empty() {
            assert_eq!(outline, "solid", "the focus on {at} is seen");
            seen.push(at);
        } else if !seen.is_empty() {
            break;
        }
    }
    let all = [
        "compact",
        "evict-expired",
        "rebuild-index",
        "optimize-compression",
        "defragment",
        "cleanup",
        "verify",
        "flush",
    ];
    assert_eq!(seen, all);
    page.find(Locator::Css("[data-task=compact]")).await.unwrap();
    script(page, "document.querySelector('[data-task=compact]').focus()").await;
    press(page, ENTER).await;
    wait_until(
        page,
        "the report of the compaction",
        "return /Compact.*compact data/.test(document.querySelector('#reports').textContent)",
    )
    .await;
    wait_until(page, "an explanation", "return document.querySelectorAll('#explanations .when').length > 0")
        .await;
    assert_eq!(
        script(page, "return document.activeElement.dataset.task").await,
        "compact",
        "the focus stays"
    );
    assert_eq!(script(page, "return document.querySelector('.bad:not(:empty)')").await, Value::Null);
}

#[test]
fn page_asks_for_the_token_and_forgets_it() {
    let Some(driver) = Driver::start() else { return };
    let service = Started::with(&["--token", "correct-horse"]);
    run(async {
        let page = driver.open(390, false).await;
        page.goto(&format!("http://{}/", service.http)).await.unwrap();
        wait_until(&page, "the form", "return !document.querySelector('#token-form').hidden").await;
        let field = page.find(Locator::Css("#token")).await.unwrap();
        field.send_keys("wrong-token").await.unwrap();
        press(&page, ENTER).await;
        wait_until(&page, "the refusal", "return document.querySelector('#token-wrong').textContent").await;
        field.send_keys("correct-horse").await.unwrap();
        press(&page, ENTER).await;
        wait_until(&page, "the page", "return !document.querySelector('#main').hidden").await;
        assert_eq!(
            script(&page, "return localStorage.length + sessionStorage.length + document.cookie.length")
                .await,
            0
        );
        page.refresh().await.unwrap();
        wait_until(&page, "the form again", "return !document.querySelector('#token-form').hidden").await;
        page.close().await.unwrap();
    });
}
