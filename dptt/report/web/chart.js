// A line chart as SVG that follows the colours of the page. Curves are {name, x, y, dashed}.

const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9"];

function ticks(low, high, number) {
  const rough = (high - low) / number, decade = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((s) => s * decade).find((s) => s >= rough * .999);
  const found = [];
  for (let t = Math.ceil(low / step - 1e-9) * step; t <= high + 1e-9 * step; t += step) found.push(Number(t.toPrecision(12)));
  return found;
}

// Round numbers between two powers of ten, as many as fit.
function logarithmicTicks(low, high) {
  for (const steps of [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9]]) {
    const found = [];
    for (let decade = Math.floor(low); decade <= high; decade++)
      for (const step of steps)
        if (decade + Math.log10(step) >= low && decade + Math.log10(step) <= high) found.push(step * 10 ** decade);
    if (found.length >= 3) return found.length > 7 ? found.filter((_, i) => i % Math.ceil(found.length / 7) === 0) : found;
  }
  return ticks(low, high, 4).map((t) => 10 ** t);
}

function chart(root, { title, xLabel, yLabel, curves, logarithmic = false, limits }) {
  const [width, height, left, right, top, bottom] = [560, 300, 72, 12, 30, 44];
  const usable = (v) => Number.isFinite(v) && (!logarithmic || v > 0), seen = (v) => (logarithmic ? Math.log10(v) : v);
  const points = curves.flatMap((curve) => curve.y.map((y, i) => [curve.x[i], y])).filter(([, y]) => usable(y));
  if (!points.length) { root.replaceChildren(); return; }
  const range = (list) => { const [a, b] = [Math.min(...list), Math.max(...list)]; return a < b ? [a, b] : [a - .5, b + .5]; };
  const xs = range(points.map((p) => p[0])), spread = limits || range(points.map((p) => seen(p[1])));
  const ys = limits || [spread[0] - .05 * (spread[1] - spread[0]), spread[1] + .05 * (spread[1] - spread[0])];
  const px = (x) => left + (width - left - right) * (x - xs[0]) / (xs[1] - xs[0]);
  const py = (y) => top + (height - top - bottom) * (ys[1] - seen(y)) / (ys[1] - ys[0]);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  svg.append(drawn("text", { x: left, y: 16, "font-weight": 600 }, title));
  for (const t of ticks(...xs, 7)) {
    svg.append(drawn("line", { class: "axis", x1: px(t), x2: px(t), y1: height - bottom, y2: height - bottom + 4 }));
    svg.append(drawn("text", { x: px(t), y: height - bottom + 17, "text-anchor": "middle" }, brief(t)));
  }
  const values = logarithmic ? logarithmicTicks(...ys) : ticks(...ys, 5);
  for (const t of values) {
    svg.append(drawn("line", { class: "grid", x1: left, x2: width - right, y1: py(t), y2: py(t) }));
    svg.append(drawn("text", { x: left - 7, y: py(t) + 4, "text-anchor": "end" }, brief(t)));
  }
  svg.append(drawn("path", { class: "axis", d: `M${left} ${top}V${height - bottom}H${width - right}` }));
  svg.append(drawn("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, xLabel));
  svg.append(drawn("text", { transform: `translate(12 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, yLabel));
  const names = [];
  curves.forEach((curve, i) => {
    const colour = curve.colour || COLOURS[i % COLOURS.length];
    let path = "", pen = "M";
    curve.y.forEach((y, k) => {
      if (!usable(y)) { pen = "M"; return; }
      path += `${pen}${px(curve.x[k]).toFixed(1)} ${py(y).toFixed(1)}`;
      pen = "L";
    });
    svg.append(drawn("path", { d: path, fill: "none", stroke: colour, "stroke-width": 1.8,
                               "stroke-dasharray": curve.dashed ? "5 4" : "none" }));
    if (curve.y.filter(usable).length === 1) {
      const k = curve.y.findIndex(usable);
      svg.append(drawn("circle", { cx: px(curve.x[k]), cy: py(curve.y[k]), r: 3, fill: colour }));
    }
    if (curve.name) names.push([curve.name, colour, curve.dashed]);
  });
  names.forEach(([name, colour, dashed], i) => {
    const y = top + 12 + 16 * i;
    svg.append(drawn("line", { x1: width - 150, x2: width - 128, y1: y - 4, y2: y - 4, stroke: colour, "stroke-width": 2,
                               "stroke-dasharray": dashed ? "5 4" : "none" }));
    svg.append(drawn("text", { class: "key", x: width - 122, y }, name));
  });
  root.replaceChildren(svg);
}
