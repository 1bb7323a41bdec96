// Arrays that Python has embedded, colours, and small builders of elements.

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Values of an array that `embedding.quantised` wrote: the high bytes of all numbers come before the low ones.
async function values(array) {
  const bytes = await unpack(array.data), number = array.shape.reduce((a, b) => a * b, 1);
  const step = (array.high - array.low) / (2 ** array.bits - 1), result = new Float32Array(number);
  for (let i = 0; i < number; i++) {
    const level = array.bits === 8 ? bytes[i] : 256 * bytes[i] + bytes[number + i];
    result[i] = array.low + step * level;
  }
  return result;
}

// Colour maps [256 x (red, green, blue)], by name; filled from the page.
const maps = {};

function paint(canvas, image, width, height, [low, high], map) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d"), pixels = context.createImageData(width, height);
  const scale = 255 / ((high - low) || 1);
  for (let i = 0; i < image.length; i++) {
    const level = 3 * Math.max(0, Math.min(255, Math.round((image[i] - low) * scale)));
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = map[level + c];
    pixels.data[4 * i + 3] = image[i] === image[i] ? 255 : 0;
  }
  context.putImageData(pixels, 0, 0);
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function drawn(tag, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

const shown = (value, digits = 1) => {
  const text = value.toFixed(digits);
  return Number(text) < 0 ? "\u2212" + text.slice(1) : text.replace("-", "");
};

const brief = (value) => (Number.isFinite(value) ? String(Number(value.toPrecision(3))).replace("-", "\u2212") : "\u2013");

// The largest of ..., 1, 2, 5, 10, ... that is at most this long.
function roundLength(longest) {
  const decade = 10 ** Math.floor(Math.log10(longest));
  return Math.max(...[1, 2, 5].map((step) => step * decade).filter((length) => length <= longest * 1.0001), 0);
}

function scaleBar(overlay, width, height, pixelsPerUnit, label) {
  const length = roundLength(width / pixelsPerUnit / 3);
  const bar = drawn("rect", { x: 10, y: height - 12, width: length * pixelsPerUnit, height: 3, class: "bar" });
  overlay.append(bar, drawn("text", { x: 10, y: height - 17 }, label(length)));
}

const inAngstroms = (length) => (length >= 10 ? `${length / 10} nm` : `${Number(length.toPrecision(2))} \u00c5`);

// A panel of fixed size with a canvas below and an overlay of lines and text above.
function panel(width, height, label) {
  const canvas = element("canvas", { role: "img", "aria-label": label });
  const overlay = drawn("svg", { viewBox: `0 0 ${width} ${height}` });
  const box = element("div", { class: "panel", style: `width:${width}px;height:${height}px` }, canvas);
  box.append(overlay);
  return { box, canvas, overlay, width, height };
}
