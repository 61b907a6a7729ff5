// Brings the page up to date: each message has the parts that have changed, as markup that the dashboard has escaped.
(() => {
  "use strict";
  const SILENT = 45000;
  const lost = document.getElementById("lost");
  let source;
  let heard = Date.now();

  const alive = () => {
    heard = Date.now();
    lost.hidden = true;
  };

  const replace = (id, markup) => {
    const part = document.getElementById(id);
    if (!part) return;
    const opened = [...part.querySelectorAll("details[open]")].map((details) => details.id);
    const scrolled = [...part.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
    const focused = part.contains(document.activeElement)
      ? [...part.querySelectorAll("summary, .scroll")].indexOf(document.activeElement)
      : -1;
    part.innerHTML = markup;
    for (const id of opened) {
      const details = document.getElementById(id);
      if (details) details.open = true;
    }
    part.querySelectorAll(".scroll").forEach((box, nth) => {
      if (scrolled[nth]) [box.scrollLeft, box.scrollTop] = scrolled[nth];
    });
    if (focused >= 0) part.querySelectorAll("summary, .scroll")[focused]?.focus();
  };

  const open = () => {
    if (source) source.close();
    heard = Date.now();
    source = new EventSource(document.body.dataset.events);
    source.onopen = alive;
    source.addEventListener("beat", alive);
    source.onmessage = (message) => {
      alive();
      for (const [id, markup] of Object.entries(JSON.parse(message.data))) replace(id, markup);
    };
    // The browser connects again by itself unless it was refused; the watch below sees to that.
    source.onerror = () => {
      lost.hidden = false;
    };
  };

  open();
  setInterval(() => {
    const refused = source.readyState === EventSource.CLOSED;
    if (refused || Date.now() - heard > SILENT) {
      lost.hidden = false;
      open();
    }
  }, 5000);
})();
