// All traits along the tokens of a row.
import { html, useEffect, useRef } from "personascope/preact-htm";
import * as echarts from "personascope/echarts";
import { carries, lineColour, reading } from "personascope/data";

function option(row, trait, layer, style) {
  const tokens = row.tokens.map((_, t) => t);
  return {
    animation: false,
    grid: { left: 44, right: 14, top: 22, bottom: 30 },
    xAxis: {
      type: "value", min: 0, max: Math.max(row.tokens.length - 1, 1), name: "token", nameLocation: "middle", nameGap: 18,
      axisLine: { lineStyle: { color: style.line } }, axisLabel: { color: style.soft }, splitLine: { show: false },
      nameTextStyle: { color: style.soft },
    },
    yAxis: {
      type: "value", name: "z", axisLabel: { color: style.soft }, splitLine: { lineStyle: { color: style.line } },
      nameTextStyle: { color: style.soft },
    },
    series: row.run.traits.map((one, index) => ({
      name: one.name,
      type: "line",
      showSymbol: false,
      sampling: "lttb",
      silent: true,
      z: one.name === trait ? 5 : 2,
      lineStyle: { width: one.name === trait ? 2.6 : 1, opacity: one.name === trait ? 1 : 0.45 },
      color: lineColour(index),
      data: tokens.filter((t) => t > 0).map((t) => [t, reading(row, one.name, layer, t)?.z ?? null]),
      ...(index === 0 && {
        markArea: {
          silent: true,
          itemStyle: { color: style.soft, opacity: 0.1 },
          label: { color: style.soft, position: "insideTopLeft" },
          data: [[{ name: "prompt", xAxis: 0 }, { xAxis: row.prompt_length - 0.5 }]],
        },
        markLine: {
          silent: true, symbol: "none", label: { show: false },
          lineStyle: { color: style.mark, type: "dashed", width: 1 },
          data: row.points.map((point) => ({ xAxis: point.token - 0.5 })),
        },
      }),
    })),
  };
}

function palette() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return { line: read("--line"), soft: read("--soft"), mark: read("--mark") };
}

export function Chart({ row, trait, layer, token, theme, onPick }) {
  const box = useRef(null);
  const chart = useRef(null);
  const cursor = useRef(null);
  const pick = useRef(onPick);
  const place = useRef(() => {});
  pick.current = onPick;
  place.current = () => {
    cursor.current.style.left = `${chart.current.convertToPixel({ xAxisIndex: 0 }, token)}px`;
  };
  useEffect(() => {
    chart.current = echarts.init(box.current, null, { renderer: "canvas" });
    chart.current.getZr().on("click", (event) => {
      pick.current(Math.round(chart.current.convertFromPixel({ xAxisIndex: 0 }, event.offsetX)));
    });
    const resize = new ResizeObserver(() => {
      chart.current.resize();
      place.current();
    });
    resize.observe(box.current);
    return () => {
      resize.disconnect();
      chart.current.dispose();
    };
  }, []);
  useEffect(() => {
    chart.current.setOption(option(row, trait, layer, palette()), { notMerge: true });
    place.current();
  }, [row, trait, layer, theme]);
  useEffect(() => place.current(), [token]);
  return html`<div class="chart ${carries(row, layer) ? "carried" : ""}" role="img" aria-label="z of every trait along the tokens; ${trait} is drawn strong">
    <div class="canvas" ref=${box}></div>
    <div class="cursor" ref=${cursor}></div>
  </div>`;
}
