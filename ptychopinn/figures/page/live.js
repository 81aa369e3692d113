"use strict";
// The page looks into its own file once in a while and changes what is new; nothing is loaded anew, nothing flickers.
// A hidden frame loads the file and posts its data here: scripts may not read files in any other way.
(() => {
  const LOST = 15; // seconds without news after which a run may have been killed
  const PATIENCE = 10000; // milliseconds for which a look is waited for
  const field = (name) => document.getElementById(name);
  const own = JSON.parse(field("data").textContent);
  if (window !== window.parent) {
    window.parent.postMessage(own, "*");
    return;
  }
  let now = own;
  let seen = Date.now();
  let frame = null;
  let asked = 0;

  function set(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  // One child of a kind for each item; those that are there are kept.
  function children(parent, tag, count) {
    while (parent.children.length > count) parent.lastElementChild.remove();
    while (parent.children.length < count) parent.append(document.createElement(tag));
    return Array.from(parent.children);
  }

  const pad = (value) => String(value).padStart(2, "0");
  const span = (seconds) => (seconds < 60 ? `${Math.round(seconds)} s`
    : seconds < 3600 ? `${Math.floor(seconds / 60)} min ${pad(Math.round(seconds % 60))} s`
    : `${Math.floor(seconds / 3600)} h ${pad(Math.floor((seconds % 3600) / 60))} min`);

  function state() {
    const quiet = (Date.now() - seen) / 1000;
    const lost = now.state === "running" && quiet > Math.max(LOST, 5 * now.every);
    const texts = { running: `Runs for ${span(now.seconds)}`, ended: `Ended after ${span(now.seconds)}`, failed: "Failed" };
    set(field("state"), texts[now.state] + (now.reason ? `: ${now.reason}` : "") +
      (lost ? `. No news for ${span(quiet)}: the run has ended or was killed, or its file cannot be reached.` : ""));
    document.title = `${now.state === "running" && now.share !== null ? `${Math.floor(100 * now.share)} % ` : ""}${now.title}`;
  }

  function facts() {
    children(field("facts").tBodies[0], "tr", now.facts.length).forEach((row, index) => {
      if (!row.children.length) {
        row.append(document.createElement("th"), document.createElement("td"));
        row.children[0].scope = "row";
      }
      set(row.children[0], now.facts[index][0]);
      set(row.children[1], now.facts[index][1]);
    });
    children(field("warnings"), "p", now.warnings.length).forEach((each, index) => {
      each.className = "warning";
      set(each, now.warnings[index]);
    });
    children(field("links"), "a", now.links.length).forEach((each, index) => {
      const [text, address] = now.links[index];
      each.href = address;
      each.style.marginRight = "1rem";
      set(each, text);
    });
  }

  function images() {
    children(field("images"), "figure", now.images.length).forEach((figure, index) => {
      const { title, address, text } = now.images[index];
      if (!figure.children.length) figure.append(document.createElement("img"), document.createElement("figcaption"));
      const [img, caption] = figure.children;
      set(caption, `${title}, ${text}`);
      if (img.src === address) return;
      img.alt = `${title} so far, ${text}`;
      // Decoded before it is shown: the old picture stays until then.
      const next = new Image();
      next.src = address;
      next.decode().then(() => { img.src = address; }, () => {});
    });
  }

  const short = (value) => Number(value.toPrecision(4)).toString();

  function curves() {
    const names = Object.keys(now.curves).filter((name) => now.curves[name].length > 1);
    children(field("curves"), "figure", names.length).forEach((figure, index) => {
      const name = names[index];
      const points = now.curves[name].filter(([, y]) => Number.isFinite(y));
      const logs = points.every(([, y]) => y > 0);
      const ys = points.map(([, y]) => (logs ? Math.log(y) : y));
      const [left, right] = [points[0][0], points[points.length - 1][0]];
      const [low, high] = [Math.min(...ys), Math.max(...ys)];
      const at = points.map(([x], i) => `${(60 + (570 * (x - left)) / (right - left || 1)).toFixed(1)},` +
        `${(170 - (150 * (ys[i] - low)) / (high - low || 1)).toFixed(1)}`);
      const last = points[points.length - 1][1];
      const value = (y) => short(logs ? Math.exp(y) : y);
      const drawn = `<svg viewBox="0 0 640 200" role="img" aria-label="${name} along ${now.along}: now ${short(last)}">` +
        `<polyline points="${at.join(" ")}"/>` +
        `<text x="0" y="24">${value(high)}</text><text x="0" y="172">${value(low)}</text>` +
        `<text x="60" y="192">${now.along} ${left}</text><text x="630" y="192" text-anchor="end">${right}</text></svg>` +
        `<figcaption>${name}${logs ? " (logarithmic)" : ""}: ${short(last)}</figcaption>`;
      if (figure.dataset.drawn === drawn) return;
      figure.dataset.drawn = drawn;
      figure.innerHTML = drawn;
    });
  }

  function log() {
    const pre = field("log");
    const below = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 30;
    set(pre, now.lines.join("\n"));
    if (below) pre.scrollTop = pre.scrollHeight;
  }

  function show() {
    field("done").hidden = now.share === null || now.state !== "running";
    if (now.share !== null) {
      field("share").value = now.share;
      set(field("percent"), `${Math.floor(100 * now.share)} %`);
    }
    state(); facts(); images(); curves(); log();
    document.body.dataset.shown = String(Number(document.body.dataset.shown || 0) + 1);
  }

  window.addEventListener("message", ({ source, data }) => {
    if (!frame || source !== frame.contentWindow) return;
    frame.remove();
    frame = null;
    if (data.written === now.written) return;
    now = data;
    seen = Date.now();
    show();
  });

  function look() {
    state();
    if (frame && Date.now() - asked < PATIENCE) return; // on a busy machine a look takes more than a moment
    if (frame) frame.remove();
    asked = Date.now();
    const address = new URL(window.location.href);
    address.searchParams.set("look", Date.now());
    address.hash = "";
    frame = document.createElement("iframe");
    frame.hidden = true;
    frame.title = "What is new";
    frame.src = address.href;
    document.body.append(frame);
  }

  show();
  setInterval(look, 1000);
})();
