// Opens the proxy's pages in headless Chromium and uses them: logs in, waits for a row that arrives
// by itself, answers a question with its button, looks at every page wide and narrow, light and dark.
//
//   node scripts/browser/pages.mjs [--distill target/debug/distill] [--screenshots FOLDER]
//
// Needs Node 20 or later and Chromium (`chromium`, `chromium-browser` or `google-chrome` on the path,
// or CHROMIUM). Says why and ends with 0 where one is missing; ends with 1 where a page is wrong.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, mkdirSync, rmSync, writeFileSync, existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const option = (name, usual) => {
  const at = process.argv.indexOf(name);
  return at > 0 ? process.argv[at + 1] : usual;
};
const skip = (why) => { console.log(`skipped: pages in a browser: ${why}`); process.exit(0); };

const distill = option("--distill", "target/debug/distill");
const screenshots = option("--screenshots", "");
if (typeof WebSocket === "undefined") {
  // Node 20 has one behind a flag, later ones have it anyway.
  const flag = "--experimental-websocket";
  if (process.execArgv.includes(flag) || Number(process.versions.node.split(".")[0]) < 20) skip("this Node has no WebSocket (20 or later has)");
  process.exit(spawnSync(process.execPath, [flag, ...process.argv.slice(1)], { stdio: "inherit" }).status ?? 1);
}
const chromium = [process.env.CHROMIUM, "chromium", "chromium-browser", "google-chrome"]
  .filter(Boolean)
  .find((name) => spawnSync(name, ["--version"]).status === 0);
if (!chromium) skip("no Chromium found");
if (!existsSync(distill)) skip(`there is no ${distill}; build it with cargo build -p distill-cli`);

const folder = mkdtempSync(join(tmpdir(), "distill-pages-"));
const children = [];
const end = (code) => {
  for (const child of children) child.kill("SIGTERM");
  setTimeout(() => { rmSync(folder, { recursive: true, force: true, maxRetries: 5 }); process.exit(code); }, 500);
};
let wrong = 0;
const check = (holds, what) => {
  console.log(`${holds ? "ok   " : "WRONG"} ${what}`);
  if (!holds) wrong += 1;
};

// The first match in what a child says, or an error when it ends without.
const said = (child, pattern, stream = "stderr") => new Promise((resolve, reject) => {
  let text = "";
  child[stream].on("data", (data) => {
    text += data;
    const found = text.match(pattern);
    if (found) resolve(found);
  });
  child.on("exit", (code) => reject(new Error(`${child.spawnfile} ended with ${code}: ${text}`)));
});

class Page {
  constructor(socket) {
    this.socket = socket;
    this.next = 1;
    this.waiting = new Map();
    this.problems = [];
    this.loaded = () => {};
    socket.addEventListener("message", ({ data }) => {
      const message = JSON.parse(data);
      if (message.id) {
        const { resolve, reject } = this.waiting.get(message.id);
        this.waiting.delete(message.id);
        message.error ? reject(new Error(message.error.message)) : resolve(message.result);
      } else if (message.method === "Page.loadEventFired") this.loaded();
      else if (message.method === "Runtime.exceptionThrown") this.problems.push(message.params.exceptionDetails.text);
      else if (message.method === "Log.entryAdded" && message.params.entry.level === "error") this.problems.push(message.params.entry.text);
    });
  }
  send(method, params = {}) {
    const id = this.next++;
    this.socket.send(JSON.stringify({ id, method, params }));
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }
  async open(url) {
    const loaded = new Promise((resolve) => { this.loaded = resolve; });
    await this.send("Page.navigate", { url });
    await loaded;
  }
  async run(expression) {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }
  // Does what leads to another page, and waits for that.
  async leave(expression) {
    const loaded = new Promise((resolve) => { this.loaded = resolve; });
    await this.run(expression);
    await loaded;
  }
  async until(expression, seconds) {
    const end = Date.now() + seconds * 1000;
    while (Date.now() < end) {
      if (await this.run(expression)) return true;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    return false;
  }
}

async function begin() {
  const proxy = spawn(distill, ["proxy", "--demo", "--listen", "127.0.0.1:0"], { cwd: folder, env: { ...process.env, DISTILL_HOME: join(folder, "home") } });
  children.push(proxy);
  const address = said(proxy, /^(http:\S+)/m, "stdout");
  const key = said(proxy, /Admin key\s+(\S+)/);
  const person = said(proxy, /ada .*(dk-\S+)/);
  const browser = spawn(chromium, ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0", `--user-data-dir=${join(folder, "profile")}`, "about:blank"]);
  children.push(browser);
  const [, socket] = await said(browser, /DevTools listening on (ws:\S+)/);
  const targets = await (await fetch(`http://${new URL(socket).host}/json`)).json();
  const link = new WebSocket(targets.find((target) => target.type === "page").webSocketDebuggerUrl);
  await new Promise((resolve) => link.addEventListener("open", resolve));
  const page = new Page(link);
  for (const domain of ["Page", "Runtime", "Log"]) await page.send(`${domain}.enable`);
  return { page, url: (await address)[1], key: (await key)[1], person: (await person)[1] };
}

const PAGES = ["/ui", "/ui/people", "/ui/teams", "/ui/tasks", "/ui/models", "/ui/requests", "/ui/keys"];

async function use({ page, url, key, person }) {
  await page.open(`${url}/ui`);
  check(await page.run(`!!document.querySelector('input[type=password]')`), "without a login there is a form for the key");
  await page.run(`document.querySelector('#key').value = 'wrong'`);
  await page.leave(`document.querySelector('form').submit()`);
  check(await page.run(`document.querySelector('[role=alert]')?.textContent.includes('not an admin key')`), "a wrong key is refused");
  await page.run(`document.querySelector('#key').value = ${JSON.stringify(key)}`);
  page.problems = []; // The refusal is an error to the browser too.
  await page.leave(`document.querySelector('form').submit()`);
  check(await page.run(`document.querySelector('h1').textContent === 'Overview'`), "the admin key opens the overview");
  check(await page.run(`document.cookie === ''`), "scripts cannot read the login");

  await page.open(`${url}/ui?since=1h`);
  check(await page.until(`document.querySelector('#live').dataset.state === 'on'`, 10), "the page says that it is live");
  const mine = await fetch(`${url}/v1/chat/completions`, { method: "POST", headers: { authorization: `Bearer ${person}`, "content-type": "application/json" }, body: JSON.stringify({ model: "code", messages: [{ role: "user", content: "asked by the browser's test" }] }) });
  const id = mine.headers.get("x-distill-request-id");
  check(mine.status === 200 && !!id, `a request is answered and named (${mine.status}, ${id})`);
  await page.run(`window.notReloaded = true`);
  check(await page.until(`!!document.getElementById('r-${id}')`, 20), "its row arrives by itself");
  check(await page.run(`window.notReloaded === true`), "without a reload");
  await page.open(`${url}/ui/requests/${id}`);
  check(await page.run(`document.querySelector('#attempts').textContent.includes('solid/large')`), "its own page shows its attempt");

  await page.open(`${url}/ui?since=1h`);
  const asked = await page.until(`!!document.querySelector('#questions button.stop')`, 240);
  check(asked, "the agent's spend raises a question");
  if (asked) {
    if (screenshots) await looks(page, url, ["/ui"], "question");
    await page.open(`${url}/ui?since=1h`);
    await page.leave(`document.querySelector('#questions button.stop').click()`);
    check(await page.run(`document.querySelector('#questions').textContent.includes('answered with stop')`), "its button stops the agent");
    await page.leave(`document.querySelector('#questions button.go').click()`);
    check(await page.run(`!document.querySelector('#questions').textContent.includes('answered with stop')`), "and lets it go on again");
  }

  await looks(page, url, [...PAGES, `/ui/requests/${id}`], "page");
  await page.open(`${url}/ui`);
  await page.leave(`[...document.querySelectorAll('button')].find((one) => one.textContent === 'Log out').click()`);
  await page.open(`${url}/ui`);
  check(await page.run(`!!document.querySelector('input[type=password]')`), "logging out closes the pages");
  const real = page.problems.filter((problem) => !problem.includes("401"));
  check(real.length === 0, `the browser has nothing to complain about ${real.join("; ")}`);
}

// Every page wide and narrow, light and dark; on a narrow one nothing may stick out.
async function looks(page, url, paths, name) {
  if (screenshots) mkdirSync(screenshots, { recursive: true });
  for (const [width, height] of [[1280, 900], [400, 800]]) {
    for (const scheme of ["light", "dark"]) {
      await page.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: width < 500 });
      await page.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
      for (const path of paths) {
        await page.open(`${url}${path}?since=30d`);
        const wide = await page.run(`document.documentElement.scrollWidth - document.documentElement.clientWidth`);
        if (wide > 0 || scheme === "light") check(wide <= 0, `${path} fits ${width} pixels (${wide} too many)`);
        if (!screenshots) continue;
        const { data } = await page.send("Page.captureScreenshot", { captureBeyondViewport: true });
        writeFileSync(join(screenshots, `${name}${path.replace(/req-.*/, "one").replaceAll("/", "-")}-${width}-${scheme}.png`), Buffer.from(data, "base64"));
      }
    }
  }
}

begin().then(use).then(
  () => end(wrong ? 1 : 0),
  (error) => { console.error(error); end(1); },
);
