// The two canvases: functions of data (with the width in it) and colours.

function drawSound(canvas, data, shape, colours) {
  const { details, width } = data, edge = frameOf(width), pen = fitted(canvas, width, 10);
  pen.font = colours.font;
  const x = timeAxis(edge, details);
  const marks = marksOf(details, data.located);
  const rows = placed(pen, marks, x, edge);
  const top = 4 + rows * 24, tall = 118, bottom = top + tall;
  const again = fitted(canvas, width, bottom + 6);
  again.font = colours.font;
  again.textBaseline = "middle";
  if (shape === "waveform") drawWave(again, data.pcm, edge, top, tall, colours);
  else drawMel(again, data, edge, top, tall, colours);
  drawEdges(again, marks, x, top, bottom, colours);
  again.textAlign = "center";
  for (const mark of marks) {
    const base = top - 4 - mark.row * 24;
    drawBar(again, mark, x(mark.start), x(mark.end), base - 6, colours);
    again.fillStyle = inkOf(mark.kind, colours);
    again.fillText(mark.text, mark.middle, base - 14);
  }
}

function drawMel(pen, { mel, details }, edge, top, tall, colours) {
  const { bands, frames } = details, picture = document.createElement("canvas");
  [picture.width, picture.height] = [frames, bands];
  const brush = picture.getContext("2d"), image = brush.createImageData(frames, bands);
  for (let band = 0; band < bands; band++) {
    for (let at = 0; at < frames; at++) {
      const level = mel[band * frames + at] / 255, to = 4 * ((bands - 1 - band) * frames + at);
      for (let c = 0; c < 3; c++) image.data[to + c] = level * colours.inkRgb[c] + (1 - level) * colours.paperRgb[c];
      image.data[to + 3] = 255;
    }
  }
  brush.putImageData(image, 0, 0);
  pen.drawImage(picture, edge.left, top, edge.right - edge.left, tall);
  pen.fillStyle = colours.ink;
  pen.textAlign = "right";
  for (const [hz, band] of details.ticks) {
    pen.fillText(hz < 1000 ? `${hz} Hz` : `${hz / 1000} kHz`, edge.left - 5, top + tall * (1 - (band + 0.5) / bands));
  }
}

function drawWave(pen, pcm, edge, top, tall, colours) {
  const columns = Math.max(1, Math.round(edge.right - edge.left)), middle = top + tall / 2;
  let peak = 1;
  for (const each of pcm) if (Math.abs(each) > peak) peak = Math.abs(each);
  pen.strokeStyle = colours.rule;
  pen.strokeRect(edge.left + 0.5, top + 0.5, columns - 1, tall - 1);
  pen.fillStyle = colours.ink;
  for (let column = 0; column < columns; column++) {
    const first = Math.floor((pcm.length * column) / columns), last = Math.floor((pcm.length * (column + 1)) / columns);
    let low = 0, high = 0;
    for (let i = first; i < last; i++) { low = Math.min(low, pcm[i]); high = Math.max(high, pcm[i]); }
    const up = (0.47 * tall * high) / peak, down = (0.47 * tall * low) / peak;
    pen.fillRect(edge.left + column, middle - up, 1, Math.max(1, up - down));
  }
  pen.textAlign = "right";
  pen.fillText("0", edge.left - 5, middle);
}

function drawCurves(canvas, data, lines, gained, colours) { // lines: [{label, values, thick, dash}]
  const { details, width } = data, edge = frameOf(width), top = 40, tall = 112, bottom = top + tall;
  const pen = fitted(canvas, width, bottom + 36);
  pen.font = colours.font;
  pen.textBaseline = "middle";
  const level = gained ? 0 : 1;
  let [low, high] = details.range?.[gained ? "gained" : "share"] ?? [0, level + 0.5]; // a range: one scale for all
  for (const line of lines) for (const each of line.values) { low = Math.min(low, each); high = Math.max(high, each); }
  [low, high] = [low * 1.08, high * 1.08];
  const x = timeAxis(edge, details);
  const y = (value) => bottom - (tall * (value - low)) / (high - low);

  if (data.located) {
    pen.fillStyle = colours.found;
    pen.globalAlpha = 0.16;
    pen.fillRect(x(data.located[0]), top, x(data.located[1]) - x(data.located[0]), tall);
    pen.globalAlpha = 1;
  }
  pen.strokeStyle = colours.rule;
  pen.strokeRect(edge.left + 0.5, top + 0.5, edge.right - edge.left - 1, tall - 1);
  pen.fillStyle = colours.ink;
  pen.textAlign = "right";
  const ticks = ticksOf(low, high, 4);
  for (const tick of ticks.length < 3 ? ticksOf(low, high, 8) : ticks) {
    pen.fillText(`${tick}`.replace("-", "−"), edge.left - 6, y(tick));
    pen.fillRect(edge.left - 3, y(tick) - 0.5, 3, 1);
  }
  pen.textAlign = "center";
  const most = Math.max(2, Math.floor((edge.right - edge.left) / 64));
  const start = details.start; // of what is shown, in its file
  for (const tick of ticksOf(start, start + details.duration, most)) {
    pen.fillRect(x(tick - start) - 0.5, bottom, 1, 4);
    pen.fillText(`${tick}`, x(tick - start), bottom + 12);
  }
  pen.fillText("time (s)", (edge.left + edge.right) / 2, bottom + 27);

  drawEdges(pen, marksOf(details, data.located).filter((mark) => mark.kind !== "event"), x, top, bottom, colours);
  pen.strokeStyle = colours.soft;
  pen.setLineDash([3, 3]);
  pen.beginPath();
  pen.moveTo(edge.left, y(level));
  pen.lineTo(edge.right, y(level));
  pen.stroke();
  pen.save();
  pen.beginPath();
  pen.rect(edge.left, top, edge.right - edge.left, tall);
  pen.clip();
  for (const line of lines) {
    pen.strokeStyle = line.thick ? colours.ink : colours.soft;
    pen.lineWidth = line.thick ? 2 : 1.2;
    pen.setLineDash(line.thick ? [] : line.dash);
    pen.beginPath();
    line.values.forEach((value, t) => {
      const at = [x((t + 0.5) * details.token_seconds), y(value)];
      if (t) pen.lineTo(...at); else pen.moveTo(...at);
    });
    pen.stroke();
  }
  pen.restore();

  pen.textAlign = "left";
  pen.fillStyle = colours.ink;
  pen.fillText(gained ? "attention gained (times even share)" : "attention (times even share)", edge.left + 6, 9);
  let at = edge.left + 6;
  const legend = [...lines, { label: gained ? "no change" : "even share", dash: [3, 3], thick: false }];
  for (const line of legend) {
    pen.strokeStyle = line.thick ? colours.ink : colours.soft;
    pen.lineWidth = line.thick ? 2 : 1.2;
    pen.setLineDash(line.thick ? [] : line.dash);
    pen.beginPath();
    pen.moveTo(at, 27);
    pen.lineTo(at + 20, 27);
    pen.stroke();
    const text = shortened(pen, line.label, edge.right - at - 24);
    pen.fillText(text, at + 24, 27);
    at += 24 + pen.measureText(text).width + 14;
  }
  pen.setLineDash([]);
}
