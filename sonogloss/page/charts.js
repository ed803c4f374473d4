"use strict";
// Pictures on canvases: waveforms, histograms, the map of embeddings.

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function context(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { width, height } = canvas.getBoundingClientRect();
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  return [pen, width, height];
}

// Peaks are bytes in base64: the loudest sample of each of equally long pieces of the clip.
function drawWave(canvas, peaks, share = null) {
  const [pen, width, height] = context(canvas);
  if (!peaks) return;
  const bytes = atob(peaks);
  const step = width / bytes.length;
  pen.fillStyle = color("--wave");
  for (let i = 0; i < bytes.length; i++) {
    const tall = Math.max(1, (bytes.charCodeAt(i) / 255) * height);
    pen.fillRect(i * step, (height - tall) / 2, Math.max(0.75, step - 0.5), tall);
  }
  if (share !== null) {
    pen.fillStyle = color("--accent");
    pen.fillRect(Math.min(width - 2, share * width), 0, 2, height);
  }
}

function drawHistogram(canvas, series) {
  const [pen, width, height] = context(canvas);
  const all = series.flatMap((one) => one.values);
  if (!all.length) return;
  const low = Math.min(...series.map((one) => least(one.values))), high = Math.max(...series.map((one) => most(one.values)));
  const bins = 40, span = high - low || 1, base = height - 20;
  const counts = series.map((one) => {
    const found = new Array(bins).fill(0);
    for (const value of one.values) found[Math.min(bins - 1, Math.floor(((value - low) / span) * bins))]++;
    return found;
  });
  const top = Math.max(...counts.flat());
  const step = width / bins, thick = (step - 1) / series.length;
  counts.forEach((found, number) => {
    pen.fillStyle = color(number ? "--bad" : "--wave");
    found.forEach((count, bin) => {
      const tall = (count / top) * (base - 14);
      pen.fillRect(bin * step + number * thick, base - tall, thick, tall);
    });
  });
  pen.fillStyle = color("--quiet");
  pen.font = "12px system-ui, sans-serif";
  pen.fillText(low.toFixed(2), 0, height - 5);
  pen.textAlign = "right";
  pen.fillText(high.toFixed(2), width, height - 5);
  pen.fillText(`highest: ${top.toLocaleString()}`, width, 11);
}

const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
const most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);

// Points are [x, y] in 0..1; returns the place of the point nearest to the mouse.
function drawMap(canvas, points, chosen) {
  const [pen, width, height] = context(canvas);
  const edge = 10;
  const at = ([x, y]) => [edge + x * (width - 2 * edge), edge + y * (height - 2 * edge)];
  pen.fillStyle = color("--wave");
  pen.globalAlpha = points.length > 2000 ? 0.35 : 0.7;
  for (const point of points) {
    const [x, y] = at(point);
    pen.fillRect(x - 1.5, y - 1.5, 3, 3);
  }
  pen.globalAlpha = 1;
  if (chosen !== null) {
    const [x, y] = at(points[chosen]);
    pen.strokeStyle = color("--bad");
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(x, y, 6, 0, 7);
    pen.stroke();
  }
  return (left, up) => {
    let best = null, reach = 400;
    points.forEach((point, number) => {
      const [x, y] = at(point);
      const far = (x - left) ** 2 + (y - up) ** 2;
      if (far < reach) [best, reach] = [number, far];
    });
    return best;
  };
}
