//! A real browser, driven over the webdriver protocol.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thirtyfour::{By, ChromiumLikeCapabilities, DesiredCapabilities, WebDriver, WebElement};

use crate::system::{free_port, tool};

/// A page that is to show something does so within this time, on a busy machine too.
const SOON: Duration = Duration::from_secs(20);
const EVERY: Duration = Duration::from_millis(50);

/// What a page is looked at with.
#[derive(Clone, Copy)]
pub(crate) enum Screen {
    Desk,
    /// A narrow one, in dark colours.
    Phone,
}

/// Chromium and its driver, which end with it.
pub(crate) struct Browser {
    driver: Option<WebDriver>,
    process: Child,
}

impl Browser {
    pub(crate) async fn open(screen: Screen) -> Self {
        let port = free_port();
        let process = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver; deploy/local/tools says how to install it");
        let mut browser = Self { driver: None, process };
        let deadline = Instant::now() + SOON;
        while browser.driver.is_none() {
            assert!(Instant::now() < deadline, "chromium does not start");
            let url = format!("http://127.0.0.1:{port}");
            browser.driver = WebDriver::new(url, capabilities(screen)).await.ok();
            tokio::time::sleep(EVERY).await;
        }
        browser
    }

    fn driver(&self) -> &WebDriver {
        self.driver.as_ref().expect("it runs")
    }

    pub(crate) async fn goto(&self, url: &str) {
        self.driver().goto(url).await.expect(url);
    }

    pub(crate) async fn close(mut self) {
        if let Some(driver) = self.driver.take() {
            driver.quit().await.expect("chromium ends");
        }
    }

    /// What a script gives back.
    pub(crate) async fn script(&self, script: &str) -> Value {
        self.driver().execute(script, Vec::new()).await.expect(script).json().clone()
    }

    async fn find(&self, css: &str) -> WebElement {
        let deadline = Instant::now() + SOON;
        loop {
            match self.driver().find(By::Css(css)).await {
                Ok(element) => return element,
                Err(error) => assert!(Instant::now() < deadline, "{css} is not there: {error}"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Presses what can be pressed by then.
    pub(crate) async fn press(&self, css: &str) {
        let deadline = Instant::now() + SOON;
        // A page that draws anew replaces what was just found.
        while let Err(error) = self.find(css).await.click().await {
            assert!(Instant::now() < deadline, "{css} cannot be pressed: {error}");
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Types in place of what is there.
    pub(crate) async fn write(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.expect(css);
        field.send_keys(text).await.expect(css);
    }

    pub(crate) async fn value(&self, css: &str) -> String {
        self.find(css).await.value().await.expect(css).unwrap_or_default()
    }

    /// The text that a person sees; none where nothing is.
    pub(crate) async fn text(&self, css: &str) -> String {
        let Ok(element) = self.driver().find(By::Css(css)).await else { return String::new() };
        element.text().await.unwrap_or_default()
    }

    /// Waits until a text is seen there.
    pub(crate) async fn sees(&self, css: &str, wanted: &str) {
        self.waits(css, wanted, |text| text.contains(wanted)).await;
    }

    /// Waits until nothing is seen there any more.
    pub(crate) async fn sees_nothing(&self, css: &str) {
        self.waits(css, "nothing", str::is_empty).await;
    }

    /// Waits until a text there is as it must be.
    pub(crate) async fn waits(&self, css: &str, what: &str, is: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + SOON;
        loop {
            let text = self.text(css).await;
            if is(&text) {
                return;
            }
            assert!(Instant::now() < deadline, "{css} does not show {what}, but {text:?}");
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Whether axe finds nothing that keeps somebody from using the page.
    pub(crate) async fn is_accessible(&self, what: &str) {
        let folder = tool("venv/lib");
        let mut pythons = std::fs::read_dir(&folder).expect("the tools");
        let python = pythons.next().expect("a python").expect("a folder").path();
        let axe = python.join("site-packages/axe_playwright_python/axe.min.js");
        let axe = std::fs::read_to_string(axe).expect("axe");
        self.driver().execute(axe, Vec::new()).await.expect("axe is loaded");
        let run = "const done = arguments[0]; axe.run().then(done)";
        let found = self.driver().execute_async(run, Vec::new()).await.expect("axe runs");
        let found = found.json();
        let passed = found["passes"].as_array().map_or(0, Vec::len);
        assert!(passed > 10, "{what}: axe has looked at {passed} rules");
        assert_eq!(found["violations"], json!([]), "{what}");
    }

    /// Nothing is wider than the screen.
    pub(crate) async fn fits(&self, what: &str) {
        let wider = "return document.documentElement.scrollWidth - innerWidth";
        assert!(self.script(wider).await.as_f64().is_some_and(|pixels| pixels <= 0.0), "{what}");
    }

    /// Keeps what is seen in target/screenshots.
    pub(crate) async fn screenshot(&self, name: &str) {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../screenshots");
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join(format!("{name}.png"));
        self.driver().screenshot(&file).await.expect("a screenshot");
    }

    /// The same of the whole page.
    pub(crate) async fn long_screenshot(&self, name: &str) {
        let driver = self.driver();
        let size = driver.get_window_rect().await.expect("a size");
        let height = self.script("return document.documentElement.scrollHeight").await;
        let height = u32::try_from(height.as_u64().unwrap_or_default()).unwrap_or_default() + 140;
        let width = u32::try_from(size.width).expect("a width");
        driver.set_window_rect(0, 0, width, height).await.expect("a size");
        tokio::time::sleep(4 * EVERY).await; // drawn anew
        self.screenshot(name).await;
    }
}

impl Drop for Browser {
    /// The driver ends its browser.
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.process.id()) {
            let pid = rustix::process::Pid::from_raw(pid).expect("a process");
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.process.wait();
    }
}

fn capabilities(screen: Screen) -> thirtyfour::ChromeCapabilities {
    let mut chrome = DesiredCapabilities::chrome();
    let (size, scheme) = match screen {
        Screen::Desk => ("1200,1400", "1"),
        Screen::Phone => ("500,900", "0"),
    };
    let flags = [
        "--headless=new".to_owned(),
        "--no-sandbox".to_owned(),
        "--disable-gpu".to_owned(),
        "--disable-dev-shm-usage".to_owned(),
        format!("--window-size={size}"),
        format!("--blink-settings=preferredColorScheme={scheme}"),
    ];
    for flag in flags {
        chrome.add_arg(&flag).expect("a flag");
    }
    chrome
}
