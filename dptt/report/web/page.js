// Starts what the page holds. Every part stands alone: one that fails says so in its place and leaves the others.

const read = (id) => { const found = document.getElementById(id); return found && JSON.parse(found.textContent); };

function chooseTheme() {
  const html = document.documentElement, button = document.getElementById("theme");
  let stored = null;
  try { stored = localStorage.getItem("dptt-theme"); } catch { /* a page opened from a file may have no storage */ }
  const asked = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = (theme) => { html.dataset.theme = theme; button.textContent = theme === "dark" ? "Light" : "Dark"; };
  apply(stored || (asked.matches ? "dark" : "light"));
  asked.addEventListener("change", () => { if (!stored) apply(asked.matches ? "dark" : "light"); });
  button.addEventListener("click", () => {
    stored = html.dataset.theme === "dark" ? "light" : "dark";
    apply(stored);
    try { localStorage.setItem("dptt-theme", stored); } catch { /* as above */ }
  });
}

async function part(id, start) {
  const root = document.getElementById(id);
  if (!root) return null;
  try {
    const started = await start(root);
    root.dataset.ready = "yes";
    return started;
  } catch (error) {
    root.append(element("p", { class: "warning" }, `This part of the page does not work in this browser: ${error.message}`));
    root.dataset.ready = "failed";
    return null;
  }
}

async function start() {
  chooseTheme();
  const data = read("dptt-data");
  if (!data) return;
  for (const [name, map] of Object.entries(data.maps)) maps[name] = await unpack(map);
  const slices = await part("slices", (root) => sliceViewer(root, data.slices));
  await part("patterns", (root) => patternViewer(root, data.patterns));
  await part("curves", (root) => data.charts.forEach((one) => chart(root.appendChild(element("div", { class: "chart" })), one)));
  await part("live", (root) => follow(root, data.every));
  const library = document.getElementById("k3d");
  if (slices && library && hasWebGL())
    await part("space", async (root) => {
      await spaceViewer(root, data.space, slices, library.textContent);
      document.getElementById("space-picture").hidden = true;
    });
  else if (document.getElementById("space"))
    document.getElementById("space").append(element("p", { class: "hint" },
      library ? "This browser has no WebGL 2: the view cannot be turned." : ""));
  document.documentElement.dataset.ready = "yes";
}

start();
