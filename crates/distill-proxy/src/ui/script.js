// Keeps the parts of a page up to date. Without it the page is whole, only not live.
"use strict";
(() => {
  const source = document.body.dataset.live;
  const light = document.getElementById("live");
  if (!source || !light || !window.EventSource) return;
  const say = (state, words) => { light.dataset.state = state; light.textContent = words; };
  let events = null;
  let wait = 1000;
  const put = (id, markup) => {
    const part = document.getElementById(id);
    if (!part) return;
    // A reader's place must not be lost: what is open stays open, what has the focus keeps it.
    const open = new Set([...part.querySelectorAll("details[open]")].map((one) => one.dataset.key));
    const focus = part.contains(document.activeElement) ? document.activeElement.id : "";
    const known = new Set([...part.querySelectorAll("tr[id]")].map((row) => row.id));
    part.innerHTML = markup;
    for (const one of part.querySelectorAll("details")) if (open.has(one.dataset.key)) one.open = true;
    if (focus) document.getElementById(focus)?.focus();
    if (known.size) for (const row of part.querySelectorAll("tr[id]")) if (!known.has(row.id)) row.classList.add("fresh");
  };
  const connect = () => {
    events = new EventSource(source);
    events.addEventListener("open", () => { wait = 1000; say("on", "live"); });
    events.addEventListener("parts", (event) => {
      const parts = JSON.parse(event.data);
      for (const id of Object.keys(parts)) put(id, parts[id]);
    });
    events.addEventListener("ended", () => { events.close(); say("off", "logged out"); location.reload(); });
    events.onerror = () => {
      events.close();
      say("off", "not connected, trying again");
      setTimeout(connect, wait);
      wait = Math.min(wait * 2, 30000);
    };
  };
  // A page that nobody looks at asks for nothing.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { events?.close(); say("off", "paused"); }
    else { connect(); }
  });
  if (!document.hidden) connect();
})();
