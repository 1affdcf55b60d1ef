// The parts of Apache ECharts that the report uses. bundle/build.sh makes charts.min.js from them.
import { init, use } from "echarts/core";
import { GraphChart, LineChart } from "echarts/charts";
import { GridSimpleComponent } from "echarts/components";
import { CanvasRenderer } from "echarts/renderers";

use([GraphChart, LineChart, GridSimpleComponent, CanvasRenderer]);
export { init };
