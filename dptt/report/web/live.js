// A page that follows a running job: asks the server whether something is new, and shows it without a reload.

const duration = (seconds) => {
  if (!Number.isFinite(seconds)) return "unknown";
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds % 60)];
  return h ? `${h} h ${m} min` : m ? `${m} min ${s} s` : `${s} s`;
};

async function follow(root, every) {
  const status = element("p", { class: "verdict" }), bar = element("div"), loss = element("div", { class: "chart" });
  const tilts = element("div", { class: "chart" }), log = element("pre", { id: "log" });
  const stale = element("p", { class: "warning", hidden: true });
  root.append(stale, status, element("div", { class: "progress" }, bar), element("div", { class: "charts" }, loss, tilts),
              element("h2", {}, "Slices"));
  const slices = element("div", { id: "slices" }), waiting = element("p", { class: "hint" }, "No checkpoint yet.");
  root.append(waiting, slices, element("h2", {}, "Log"), log, element("h2", {}, "Files"),
              element("p", { id: "files" }));
  let shownVolume = "", viewer = null, last = Date.now();

  async function update() {
    let state;
    try {
      const reply = await fetch("state.json", { cache: "no-store" });
      if (!reply.ok) throw new Error(await reply.text());
      state = await reply.json();
      stale.hidden = true;
      last = Date.now();
    } catch (error) {
      stale.textContent = `No answer from dptt watch for ${duration((Date.now() - last) / 1000)}; is it still running?`;
      stale.hidden = false;
      return;
    }
    status.textContent = state.sentence;
    bar.style.width = `${100 * state.share}%`;
    root.dataset.epoch = state.epoch;
    document.title = state.epochs ? `${state.epoch}/${state.epochs} ${state.title}` : state.title;
    chart(loss, { title: "Loss", xLabel: "epoch", yLabel: "loss per electron", logarithmic: true, curves: [
      { name: "loss", x: state.epochsDone, y: state.loss }, { name: "held-out", x: state.epochsDone, y: state.heldOut, dashed: true }] });
    chart(tilts, { title: "Loss by tilt, last epoch", xLabel: state.thetas ? "tilt angle [\u00b0]" : "tilt", yLabel: "loss per electron",
      curves: [{ x: state.thetas || state.tiltLosses.map((_, i) => i + 1), y: state.tiltLosses }] });
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 30;
    log.textContent = state.log || "Nothing has been logged yet.";
    if (atEnd) log.scrollTop = log.scrollHeight;
    const files = document.getElementById("files");
    const links = state.files.map((name) => element("a", { href: `files/${encodeURIComponent(name)}` }, name));
    if (state.report) links.unshift(element("a", { href: "report.html" }, "Page of the finished run"));
    files.replaceChildren(...(links.length ? links.flatMap((link) => [link, "  "]) : ["None yet."]));
    if (state.volume && state.volume !== shownVolume) {
      const reply = await fetch("volume.json", { cache: "no-store" });
      if (!reply.ok) return;
      const volume = await reply.json(), kept = viewer ? viewer.state : {};
      shownVolume = state.volume;
      if (!volume.layers) return;
      const fresh = element("div");
      slices.style.minHeight = `${slices.offsetHeight}px`;  // so that the page does not jump
      slices.replaceChildren(fresh);
      viewer = await sliceViewer(fresh, volume, viewer ? { cut: kept.cut, all: kept.all, smooth: kept.smooth, map: kept.map } : {});
      waiting.textContent = `Volume after epoch ${volume.epoch}.`;
      root.dataset.volume = volume.epoch;
    }
  }

  // One question at a time: on a busy machine an answer may take longer than the time between two.
  const again = () => setTimeout(() => update().catch(() => {}).finally(again), every);
  await update().finally(again);
}
