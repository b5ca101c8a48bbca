(() => {
  "use strict";
  const element = (id) => document.getElementById(id);
  const embedded = (id) => JSON.parse(element(id).textContent);
  const run = embedded("run");
  const specs = embedded("charts");

  // The rule of foretell.report.html.number; the tests compare the two.
  const format = (value, digits = 4) => {
    if (value === null || !Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    const sign = value < 0 ? "−" : "";
    const grouped = (text) => text.replace(/^\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));
    if (size === 0) return "0";
    if (size < 1e-4 || size >= 1e7) {
      const [mantissa, exponent] = size.toExponential(digits - 1).split("e");
      const raised = String(Number(exponent)).replace(/./g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);
      return `${sign}${mantissa} × 10${raised}`;
    }
    if (size >= 10 ** digits - 0.5) return sign + grouped(String(Math.round(size)));
    return sign + grouped(size.toPrecision(digits));
  };

  // Axis labels: the same numbers without trailing zeros.
  const tick = (value) => format(value, 3).replace(/(\.\d*?)0+(?!\d)/, "$1").replace(/\.(?!\d)/, "");

  // 1, 2, 5, 10, … within a range: the ticks of logarithmic axes.
  const roundNumbers = ([low, high]) =>
    Array.from({ length: 90 }, (_, k) => [1, 2, 5][k % 3] * 10 ** (Math.floor(k / 3) - 12))
      .filter((value) => value >= low && value <= high);

  const config = {
    autosize: { type: "fit-x", contains: "padding" },
    background: null,
    font: getComputedStyle(document.body).fontFamily,
    customFormatTypes: true,
    numberFormatType: "foretell",
    view: { stroke: null },
    text: { fontSize: 13 },
    axis: {
      domain: false,
      gridColor: "var(--grid)",
      labelColor: "var(--muted)",
      labelFontSize: 12,
      labelOverlap: "greedy",
      labelSeparation: 8,
      tickColor: "var(--grid)",
      titleColor: "var(--muted)",
      titleFontSize: 12,
      titleFontWeight: "normal",
      titlePadding: 10,
    },
    axisX: { tickCount: 5 },
    axisY: { tickCount: 5 },
  };

  // The syntax tree instead of generated code: the page's security policy forbids eval.
  const draw = (name) =>
    vegaEmbed(element(`chart-${name}`), specs[name], {
      actions: false,
      ast: true,
      config,
      defaultStyle: false,
      expressionFunctions: { foretell: tick },
      renderer: "svg",
    });

  const forecast = (grid, draw) => {
    const axes = { unlabeled: grid.n_unlabeled, labeled: grid.n_labeled };
    const today = { unlabeled: grid.current.n_unlabeled, labeled: grid.current.n_labeled };
    const within = (n, axis) => Math.min(Math.max(n, axis[0]), axis[axis.length - 1]);

    // Index of the grid cell of n and how far into it n lies, in log n.
    const place = (n, axis) => {
      if (axis.length === 1) return [0, 0];
      let i = 0;
      while (i < axis.length - 2 && axis[i + 1] < n) i += 1;
      return [i, Math.log(within(n, axis) / axis[i]) / Math.log(axis[i + 1] / axis[i])];
    };

    // The page shows mean squared errors: twice the risk.
    const errorAt = (table, m, n) => {
      const [i, s] = place(m, axes.unlabeled);
      const [j, t] = place(n, axes.labeled);
      const corners = [];
      for (const [di, u] of [[0, 1 - s], [1, s]]) {
        for (const [dj, v] of [[0, 1 - t], [1, t]]) {
          if (u * v > 0) corners.push([u * v, table?.[i + di]?.[j + dj] ?? null]);
        }
      }
      if (corners.some(([, risk]) => risk === null)) return null;
      if (corners.length === 1) return 2 * corners[0][1];
      const mean = (of) => corners.reduce((sum, [weight, risk]) => sum + weight * of(risk), 0);
      const least = grid.irreducible ?? 0;
      // The part above the floor falls like a power of the sizes: its logarithm is nearly linear.
      return corners.every(([, risk]) => risk > least)
        ? 2 * (least + Math.exp(mean((risk) => Math.log(risk - least))))
        : 2 * mean((risk) => risk);
    };
    const point = (m, n) => ({
      n_labeled: n,
      mean: errorAt(grid.mean, m, n),
      low: errorAt(grid.q05, m, n),
      high: errorAt(grid.q95, m, n),
    });

    const reference = point(within(today.unlabeled, axes.unlabeled), within(today.labeled, axes.labeled));
    const floor = grid.irreducible === null ? null : 2 * grid.irreducible;
    const chosen = { ...today };
    let view = null;

    // The vertical axis stays put while the sliders move, so that the curve is seen to move.
    const fixAxis = (spec) => {
      const last = axes.labeled.length - 1;
      const some = [axes.unlabeled[0], today.unlabeled, axes.unlabeled.at(-1)];
      const seen = some.flatMap((m) => axes.labeled.map((n) => point(m, n)));
      const values = (key) => seen.map((p) => p[key]).filter((v) => v !== null);
      const low = Math.min(...values("mean"), ...values("low"), floor ?? Infinity);
      const high = Math.max(...values("mean"), reference.high ?? -Infinity);
      const scale = spec.layer.at(-1).encoding.y.scale;
      scale.type = low > 0 && high > 8 * low ? "log" : "linear";
      if (scale.type === "log") spec.layer.at(-1).encoding.y.axis.values = roundNumbers([low / 1.1, high * 1.1]);
      scale.domain = scale.type === "log" ? [low / 1.1, high * 1.1] : [low - 0.08 * (high - low), high];
      const x = spec.layer.at(-1).encoding.x;
      x.scale.domain = [axes.labeled[0], axes.labeled[last]];
      x.axis.values = roundNumbers(x.scale.domain);
      spec.datasets.floor = floor === null ? [] : [{ mean: floor }];
      spec.datasets.today = [reference];
    };

    const curveSizes = Array.from({ length: 121 }, (_, k) =>
      axes.labeled[0] * (axes.labeled.at(-1) / axes.labeled[0]) ** (k / 120));
    const redraw = () => {
      if (view === null) return;
      const curve = curveSizes.map((n) => point(chosen.unlabeled, n));
      view
        .data("curve", curve.filter((p) => p.mean !== null))
        .data("marker", [point(chosen.unlabeled, chosen.labeled)])
        .runAsync();
    };

    const show = (name, value) => {
      const output = element(`forecast-${name}`);
      output.textContent = format(value);
      if (value !== null) output.dataset.value = value;
    };
    const update = () => {
      const now = point(chosen.unlabeled, chosen.labeled);
      for (const key of ["mean", "low", "high"]) show(key, now[key]);
      for (const key of ["unlabeled", "labeled"]) {
        element(`forecast-${key}`).textContent = chosen[key].toLocaleString("en-US");
        element(`slider-${key}`).setAttribute(
          "aria-valuetext", `${chosen[key].toLocaleString("en-US")} ${key} rows`);
      }
      const change = now.mean === null || !reference.mean ? null : 100 * (now.mean / reference.mean - 1);
      element("forecast-change").textContent =
        change === null ? "–"
        : Math.abs(change) < 0.05 ? "0%"
        : `${change < 0 ? "−" : "+"}${Math.abs(change).toFixed(1)}%`;
      redraw();
    };

    // Slider positions are even steps of log n; the chosen number itself is kept exactly.
    const connect = (name) => {
      const slider = element(`slider-${name}`);
      const [first, last] = [axes[name][0], axes[name].at(-1)];
      const steps = Number(slider.max);
      const setSlider = () => {
        const share = last > first ? Math.log(within(chosen[name], axes[name]) / first) / Math.log(last / first) : 0;
        slider.value = Math.round(steps * share);
      };
      slider.addEventListener("input", () => {
        chosen[name] = Math.round(first * (last / first) ** (Number(slider.value) / steps));
        update();
      });
      return setSlider;
    };
    const setters = ["unlabeled", "labeled"].map(connect);
    const reset = () => {
      Object.assign(chosen, today);
      setters.forEach((set) => set());
      update();
    };
    element("forecast-reset").addEventListener("click", reset);
    reset();

    fixAxis(specs.forecast);
    return draw("forecast").then((result) => {
      view = result.view;
      redraw();
    });
  };

  const drawings = Object.keys(specs).map((name) =>
    name === "forecast" ? forecast(run.forecast, draw) : draw(name));
  Promise.all(drawings).then(() => {
    document.documentElement.dataset.ready = "true";
  });
})();
