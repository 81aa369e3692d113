"use strict";
// Fills the images of the page and answers clicks, keys and fields. Positions are in the unit of the axes.
window.ptychopinn = (() => {
  const BLANK = 65535;
  const results = JSON.parse(document.getElementById("data").textContent);
  const field = (name) => document.getElementById(name);
  const model = (name) => Bokeh.documents.map((doc) => doc.get_model_by_name(name)).find((found) => found);
  let end = 0; // of the line, which the last click or field set

  function decode(map) {
    const bytes = Uint8Array.from(atob(map.data), (char) => char.charCodeAt(0));
    const codes = new DataView(bytes.buffer);
    const values = new Float32Array(bytes.length / 2);
    for (let i = 0; i < values.length; i++) {
      const code = codes.getUint16(2 * i, true);
      values[i] = code === BLANK ? NaN : map.low + code * map.step;
    }
    return values;
  }

  // BokehJS reads images as its own arrays, which know their shape; the empty ones of the page tell their class.
  function show(name, values, shape, more = {}) {
    const source = model(name);
    const Kind = source.data.image[0].constructor;
    source.data = { ...source.data, image: [new Kind(values, shape)], ...more };
  }

  function colours(amplitude, phase, high) {
    const found = new Uint32Array(amplitude.length);
    for (let i = 0; i < found.length; i++) {
      if (Number.isNaN(amplitude[i])) { found[i] = 0xff9a9a9a; continue; }
      const value = Math.min(1, amplitude[i] / high);
      const turn = (phase[i] / (2 * Math.PI) + 1) * 6;
      const part = (n) => {
        const k = (n + turn) % 6;
        return Math.round(255 * value * (1 - Math.max(0, Math.min(k, 4 - k, 1))));
      };
      found[i] = (255 << 24) | (part(1) << 16) | (part(3) << 8) | part(5);
    }
    return found;
  }

  function sample(result, name, x, y) {
    const { extent, maps } = result;
    if (!maps[name]) return NaN;
    const [h, w] = maps[name].shape;
    const row = Math.floor(((y - extent.y) / extent.h) * h);
    const col = Math.floor(((x - extent.x) / extent.w) * w);
    return row < 0 || col < 0 || row >= h || col >= w ? NaN : maps[name].values[row * w + col];
  }

  // At each step of a drag Bokeh asks the style sheets of the page for the colours of every plot, which they do not set;
  // writes the place of every part anew, though it stays; and moves the text beside the cursor. Without these, a drag has
  // twice the frames per second.
  function quicken() {
    const { VisualProperties } = Bokeh.require("core/visuals/visual");
    const sheet = Bokeh.require("core/dom").InlineStyleSheet.prototype;
    const hover = Bokeh.require("models/tools/inspectors/hover_tool").HoverToolView.prototype;
    const { replace } = sheet;
    const { _inspect: inspect } = hover;
    let dragged = false;
    VisualProperties.prototype._get_css_value = () => "";
    sheet.replace = function (css, ...more) {
      if (more.length || css !== this.css) replace.call(this, css, ...more);
    };
    hover._inspect = function (...where) {
      if (!dragged) inspect.apply(this, where);
      else for (const tip of this.ttmodels.values()) tip.clear();
    };
    for (const [name, value] of [["pointerdown", true], ["pointerup", false], ["pointercancel", false]]) {
      window.addEventListener(name, () => { dragged = value; }, true);
    }
  }

  const text = (value) => (Number.isFinite(value) ? Number(value.toPrecision(5)).toString() : "none");

  function point() {
    const [x, y] = [`x${end}`, `y${end}`].map((name) => field(name).valueAsNumber);
    field("values").textContent = results
      .map((result) => {
        const said = Object.keys(result.maps).map((name) => `${result.maps[name].label} ${text(sample(result, name, x, y))}`);
        return `${result.name}: ${said.join(", ")}.`;
      })
      .join(" ");
  }

  function profile() {
    const [x0, y0, x1, y1] = ["x0", "y0", "x1", "y1"].map((name) => field(name).valueAsNumber);
    const name = field("quantity").value;
    if (![x0, y0, x1, y1].every(Number.isFinite)) return;
    model("quantity").axis_label = results[0].maps[name].label;
    model("line").data = { x: [x0, x1], y: [y0, y1] };
    const length = Math.hypot(x1 - x0, y1 - y0);
    results.forEach((result, index) => {
      const pixel = result.extent.w / result.maps[name].shape[1];
      const count = Math.max(2, Math.min(4000, Math.ceil((2 * length) / pixel)));
      const found = { x: [], y: [], low: [], high: [] };
      for (let i = 0; i < count; i++) {
        const share = i / (count - 1);
        const at = [x0 + share * (x1 - x0), y0 + share * (y1 - y0)];
        const value = sample(result, name, ...at);
        const bar = result.maps[`${name}_std`] ? sample(result, `${name}_std`, ...at) : 0;
        found.x.push(share * length);
        found.y.push(value);
        found.low.push(value - bar);
        found.high.push(value + bar);
      }
      model(`profile-${index}`).data = found;
    });
    point();
  }

  // A table with a row for every point of every result; the bar is the standard deviation.
  function table() {
    const name = field("quantity").value;
    const rows = results.flatMap((result, index) => {
      const { x, y, low } = model(`profile-${index}`).data;
      return Array.from(x, (along, i) => [`"${result.name.replaceAll('"', '""')}"`, along, y[i], y[i] - low[i]].join(","));
    });
    return [`result,distance (${document.body.dataset.unit}),${results[0].maps[name].label},standard deviation`, ...rows].join("\n") + "\n";
  }

  function keep() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
    link.download = "profile.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function frame() {
    const index = Number(field("result").value);
    const { frames } = results[index];
    const number = field("frame").valueAsNumber;
    if (!frames) { field("frame-said").textContent = "No frames of this result are in the page; give its scan."; return; }
    const positions = model(`positions-${index}`).data;
    const numbers = Array.from(positions.frame);
    let at = frames.rows.findIndex((row) => numbers[row] === number);
    const wanted = numbers.indexOf(number);
    if (at < 0 && wanted >= 0) {
      const away = frames.rows.map((row) => Math.hypot(positions.x[row] - positions.x[wanted], positions.y[row] - positions.y[wanted]));
      at = away.indexOf(Math.min(...away));
    }
    if (at < 0) { field("frame-said").textContent = `No frame ${number} in ${results[index].name}.`; return; }
    const [, h, w] = frames.measured.shape;
    const part = (name) => frames[name].values.subarray(at * h * w, (at + 1) * h * w);
    const [measured, fitted] = [part("measured"), part("fitted")];
    // Square roots of counts scatter by 1/2; of the mean of b^2 pixels by 1/(2 b).
    const residual = measured.map((value, i) => 2 * frames.binned * (value - fitted[i]));
    const top = measured.reduce((most, value) => (value > most ? value : most), 1e-9);
    for (const name of ["measured", "fitted"]) model(`colours-${name}`).high = top;
    const size = { dw: [w * frames.binned], dh: [h * frames.binned] };
    for (const [name, values] of Object.entries({ measured, fitted, residual })) show(`frame-${name}`, values, [h, w], size);
    const shown = numbers[frames.rows[at]];
    const near = shown === number ? "" : ` (frame ${number} is not in the page; this is the nearest that is)`;
    field("frame-said").textContent = `Frame ${shown} of ${results[index].name}${near}.`;
  }

  function tap(index, name, x, y) {
    if (name === "coverage") {
      const { x: xs, y: ys, frame: numbers } = model(`positions-${index}`).data;
      let best = 0;
      for (let i = 1; i < xs.length; i++) {
        if (Math.hypot(xs[i] - x, ys[i] - y) < Math.hypot(xs[best] - x, ys[best] - y)) best = i;
      }
      field("result").value = String(index);
      field("frame").value = numbers[best];
      frame();
      return;
    }
    end = 1 - end;
    field(`x${end}`).value = x.toPrecision(6);
    field(`y${end}`).value = y.toPrecision(6);
    profile();
  }

  function move(factor, right, down) {
    for (const [name, step] of [["x", right], ["y", down]]) {
      const range = model(name);
      const [low, high] = [range.start, range.end];
      const middle = (low + high) / 2 + step * Math.abs(high - low);
      const half = ((high - low) / 2) * factor;
      range.setv({ start: middle - half, end: middle + half });
    }
  }

  function begin() {
    try { quicken(); } catch { /* A version of Bokeh that is built otherwise is slower. */ }
    const kept = { x: [model("x").start, model("x").end], y: [model("y").start, model("y").end] };
    results.forEach((result, index) => {
      for (const [name, map] of Object.entries(result.maps)) {
        map.values = decode(map);
        show(`image-${index}-${name}`, map.values, map.shape);
      }
      const { amplitude, phase } = result.maps;
      show(`image-${index}-colour`, colours(amplitude.values, phase.values, amplitude.high_colour), amplitude.shape);
      if (result.frames) for (const name of ["measured", "fitted"]) result.frames[name].values = decode(result.frames[name]);
    });
    const moves = { in: [0.7, 0, 0], out: [1 / 0.7, 0, 0], left: [1, -0.2, 0], right: [1, 0.2, 0], up: [1, 0, -0.2], down: [1, 0, 0.2] };
    for (const [name, how] of Object.entries(moves)) field(`move-${name}`).onclick = () => move(...how);
    field("move-all").onclick = () => {
      for (const [name, [start, stop]] of Object.entries(kept)) model(name).setv({ start, end: stop });
    };
    field("quantity").onchange = profile;
    field("keep").onclick = keep;
    for (const name of ["x0", "y0", "x1", "y1"]) field(name).onchange = () => { end = Number(name[1]); profile(); };
    for (const name of ["result", "frame"]) field(name).onchange = frame;
    const { extent, frames } = results[0];
    const middle = extent.y + extent.h / 2;
    Object.entries({ x0: extent.x + extent.w / 4, y0: middle, x1: extent.x + (3 * extent.w) / 4, y1: middle }).forEach(
      ([name, value]) => { field(name).value = value.toPrecision(6); },
    );
    profile();
    if (frames) field("frame").value = model("positions-0").data.frame[frames.rows[0]];
    frame();
    document.body.dataset.ready = "true";
  }

  const wait = () => (Bokeh.documents.length && model("x") ? begin() : setTimeout(wait, 20));
  wait();
  return { tap, table };
})();
