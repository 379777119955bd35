"""Looks at the page of a key ring in a headless browser, as people do.

    page_browser.py CHROMEDRIVER AXE URL PICTURES [PATH...]

Visits the views of the navigation and these paths, at two widths, light and dark, and fails if one has an error on the console, a serious finding of
axe-core, a script, or more width than the window; if it cannot be used by keyboard or without JavaScript; or if it lets a script in. Prints what it
saw as JSON, and writes pictures of the views into the folder PICTURES.
"""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

WIDTHS = {"wide": 1280, "narrow": 390}
PICTURES = ("overview", "keys", "due")
TAB, ENTER = chr(0xE004), chr(0xE007)


def fail(text):
    sys.exit(f"page_browser: {text}")


class Driver:
    """A chromedriver of our own, by the W3C WebDriver protocol."""

    def __init__(self, program):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.base = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [program, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        end = time.monotonic() + 30
        while True:
            try:
                if self.call("GET", "/status")["ready"]:
                    break
            except OSError:
                pass
            if time.monotonic() > end:
                fail("chromedriver does not answer")
            time.sleep(0.05)

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            fail(f"{method} {path}: {error.read().decode(errors='replace')[:500]}")

    def end(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(30)


class Browser:
    def __init__(self, driver, has_scripts=True):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={self.profile.name}"]
        options = {"args": arguments}
        if not has_scripts:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        answer = driver.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.driver, self.path = driver, f"/session/{answer['sessionId']}"

    def post(self, path, **body):
        return self.driver.call("POST", self.path + path, body)

    def get(self, path):
        return self.driver.call("GET", self.path + path)

    def cdp(self, command, **parameters):
        return self.post("/goog/cdp/execute", cmd=command, params=parameters)

    def visit(self, url):
        self.post("/url", url=url)

    def run(self, script, *arguments):
        return self.post("/execute/sync", script=script, args=list(arguments))

    def wait_for(self, script, *arguments):
        return self.post("/execute/async", script=script, args=list(arguments))

    def press(self, *keys):
        steps = [step for key in keys for step in ({"type": "keyDown", "value": key}, {"type": "keyUp", "value": key})]
        self.post("/actions", actions=[{"type": "key", "id": "keyboard", "actions": steps}])

    def errors(self):
        entries = self.post("/se/log", type="browser")
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def resize(self, width):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)

    def scheme(self, name):
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def picture(self, path):
        size = self.cdp("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 1600), "scale": 1}
        shot = self.cdp("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))

    def end(self):
        self.driver.call("DELETE", self.path)
        self.profile.cleanup()


def look(browser, url, axe):
    """What is wrong with a view as it is shown now."""
    wrong = [f"on the console: {message}" for message in browser.errors()]
    if browser.run("return document.scripts.length"):
        wrong.append("it has scripts")
    foreign = browser.run(
        "return performance.getEntriesByType('resource').map(one => one.name).filter(one => !one.startsWith(location.origin + '/'))"
    )
    wrong += [f"it loads {one}" for one in foreign]
    if browser.run("return document.scrollingElement.scrollWidth > window.innerWidth"):
        wrong.append("it is wider than the window")
    if browser.run("return document.querySelectorAll('h1').length") != 1:
        wrong.append("it has not one heading of the first level")
    browser.run(axe + "; return true")
    found = browser.wait_for(
        "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(found => done(found.violations), error => done(String(error)))"
    )
    if isinstance(found, str):
        fail(f"axe-core: {found}")
    for violation in found:
        if violation["impact"] in ("serious", "critical"):
            where = "; ".join(node["html"][:120] for node in violation["nodes"][:3])
            wrong.append(f"axe-core: {violation['id']} ({violation['impact']}): {where}")
    return [f"{url}: {one}" for one in wrong]


def focused(browser):
    return browser.run(
        "const it = document.activeElement; const style = getComputedStyle(it);"
        "return {name: it.localName, text: it.textContent.slice(0, 60), href: it.href || null,"
        " outline: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0, seen: it.getBoundingClientRect().right > 0}"
    )


def by_keyboard(browser, url):
    """From the overview to the keys, sorted by state, with the keyboard alone."""
    browser.visit(url)
    browser.press(TAB)
    first = focused(browser)
    if "Skip" not in first["text"] or not first["seen"]:
        fail(f"the first stop of the keyboard is not the link to the content: {first}")
    browser.press(ENTER)
    if browser.run("return document.activeElement.id") != "main":
        fail("the link to the content leads elsewhere")
    reached = go_to(browser, url, lambda stop: stop["name"] == "a" and stop["text"] == "Keys")
    if not reached.endswith("/keys"):
        fail(f"the link to the keys leads to {reached}")
    browser.visit(reached)
    if not browser.run("return document.querySelector('table')"):
        return
    sorted_by = go_to(browser, reached, lambda stop: stop["name"] == "a" and stop["text"].strip() == "State")
    if "sort=state" not in sorted_by:
        fail(f"the head of the column leads to {sorted_by}")
    if browser.run("return document.querySelector('th[aria-sort=ascending]').textContent.trim()") != "State ↑":
        fail("the table does not say what it is sorted by")


def go_to(browser, url, is_meant):
    browser.visit(url)
    for _ in range(60):
        browser.press(TAB)
        stop = focused(browser)
        if stop["name"] == "body":
            break
        if not stop["outline"]:
            fail(f"nobody sees that the keyboard is at {stop}")
        if is_meant(stop):
            browser.press(ENTER)
            end = time.monotonic() + 10
            while browser.get("/url") == url and time.monotonic() < end:
                time.sleep(0.02)
            return browser.get("/url")
    fail(f"the keyboard does not come to what was looked for on {url}")


def lets_no_script_in(browser, url):
    browser.visit(url)
    let_in = browser.run(
        "window.letIn = false; const script = document.createElement('script'); script.textContent = 'window.letIn = true';"
        "document.body.append(script); return window.letIn"
    )
    if let_in or not any("Content Security Policy" in message for message in browser.errors()):
        fail("the policy lets a script in")


def main():
    program, axe_path, url, pictures, *paths = sys.argv[1:]
    with open(axe_path, encoding="utf-8") as file:
        axe = file.read()
    driver = Driver(program)
    try:
        browser = Browser(driver)
        browser.visit(url)
        views = browser.run("return [...document.querySelectorAll('header nav a')].map(one => new URL(one.href).pathname)")
        if len(views) < 6:
            fail(f"the navigation has {views}")
        paths = views + paths
        wrong = []
        for scheme in ("light", "dark"):
            browser.scheme(scheme)
            for name, width in WIDTHS.items():
                browser.resize(width)
                for path in paths:
                    full = url.rstrip("/") + path
                    browser.visit(full)
                    wrong += [f"{scheme}, {name}: {one}" for one in look(browser, full, axe)]
                    title = re.sub(r"[^a-z]", "", path) or "overview"
                    if scheme == "light" and title in PICTURES:
                        browser.picture(os.path.join(pictures, f"page-{title}-{name}.png"))
        if wrong:
            fail("\n" + "\n".join(wrong))
        browser.resize(WIDTHS["wide"])
        by_keyboard(browser, url)
        lets_no_script_in(browser, url)
        browser.end()
        # What is there without JavaScript is what is there.
        plain = Browser(driver, has_scripts=False)
        for path in paths:
            plain.visit(url.rstrip("/") + path)
            if "<h1>" not in plain.get("/source"):
                fail(f"{path} is empty without JavaScript")
        plain.end()
    finally:
        driver.end()
    print(json.dumps({"views": views, "looks": len(paths) * 4}))


main()
