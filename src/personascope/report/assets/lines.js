// Lines with bands over a number axis: quality by layer, dose–response.
import { html, useEffect, useRef } from "personascope/preact-htm";
import * as echarts from "personascope/echarts";

function palette() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return { ink: read("--ink"), line: read("--line"), soft: read("--soft"), mark: read("--mark") };
}

// A band is two stacked areas: an invisible one up to its lower edge, a faint one on top of it.
function series(line, style) {
  const drawn = {
    name: line.name, type: "line", data: line.points, color: line.colour, z: 3,
    symbol: "circle", symbolSize: 5, showSymbol: line.points.length <= 60, lineStyle: { width: 2, type: line.dashed ? "dashed" : "solid" },
  };
  if (!line.band?.length) return [drawn];
  const edge = (name, data, opacity) => ({
    name, type: "line", stack: `${line.name} band`, stackStrategy: "all", data, silent: true, symbol: "none",
    lineStyle: { opacity: 0 }, areaStyle: { color: line.colour, opacity }, tooltip: { show: false },
  });
  return [
    edge(`${line.name} low`, line.band.map(([x, low]) => [x, low]), 0),
    edge(`${line.name} high`, line.band.map(([x, low, high]) => [x, high - low]), 0.16),
    drawn,
  ];
}

// A legend's items, as echarts lays them out: an icon, a gap, the name, a gap, as many lines as they take.
const ICON = 18, ITEM_GAP = 10, LEGEND_LINE = 22;

function legendHeight(names, width) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = "12px sans-serif";
  let taken = 0, rows = 1;
  for (const name of names) {
    const item = ICON + 5 + pen.measureText(name).width;
    if (taken && taken + item > width) [taken, rows] = [0, rows + 1];
    taken += item + ITEM_GAP;
  }
  return rows * LEGEND_LINE;
}

function option({ lines, xName, xMin, xMax, yName, yMin, yMax, marked }, style, width) {
  const names = [...new Set(lines.map((line) => line.name))];
  const xs = [...new Set(lines.flatMap((line) => line.points.map(([x]) => x)))].sort((a, b) => a - b);
  const axis = { axisLine: { lineStyle: { color: style.line } }, axisLabel: { color: style.soft }, nameTextStyle: { color: style.soft } };
  const all = lines.flatMap((line) => series(line, style));
  if (all.length && marked !== undefined && marked !== null) {
    all.at(-1).markLine = {
      silent: true, symbol: "none", label: { show: false },
      lineStyle: { color: style.mark, type: "dashed", width: 1 }, data: [{ xAxis: marked }],
    };
  }
  return {
    animation: false,
    grid: { left: 44, right: 16, top: legendHeight(names, width) + 32, bottom: 34 },
    legend: { data: names, textStyle: { color: style.ink, fontSize: 12 }, top: 0, left: 0, padding: 5, itemWidth: ICON, itemGap: ITEM_GAP },
    tooltip: { trigger: "axis", valueFormatter: (value) => (Array.isArray(value) ? value[1] : value)?.toPrecision?.(3) ?? "–" },
    xAxis: { type: "value", min: xMin ?? xs[0], max: xMax ?? xs.at(-1), name: xName, nameLocation: "middle", nameGap: 20, splitLine: { show: false }, minInterval: xName === "layer" ? 1 : 0, ...axis },
    yAxis: { type: "value", min: yMin, max: yMax, name: yName, splitLine: { lineStyle: { color: style.line } }, ...axis },
    series: all,
  };
}

/** lines: [{name, colour, points: [[x, y]], band: [[x, low, high]], dashed}]; marked: an x to point out; xMin, xMax: the axis,
    as far as the points reach if left out. */
export function Lines({ label, theme, ...what }) {
  const box = useRef(null);
  const chart = useRef(null);
  const draw = useRef(null);
  draw.current = () => chart.current.setOption(option(what, palette(), box.current.clientWidth - 10), { notMerge: true });
  useEffect(() => {
    chart.current = echarts.init(box.current, null, { renderer: "canvas" });
    const resize = new ResizeObserver(() => {
      chart.current.resize();
      draw.current();
    });
    resize.observe(box.current);
    return () => {
      resize.disconnect();
      chart.current.dispose();
    };
  }, []);
  useEffect(() => {
    draw.current();
  }, [JSON.stringify(what), theme]);
  return html`<div class="chart" role="img" aria-label=${label} data-least=${what.yMin}><div class="canvas" ref=${box}></div></div>`;
}
