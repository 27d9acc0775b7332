"use strict";
// 中文: from the English of the page. What the daemon writes itself (reasons, alerts) stays English.
const CHINESE = {
  // frame
  "services": "服务", "pages": "页面", "language": "语言", "mode": "模式", "observe": "观察", "approve": "审批", "act": "执行",
  "Freeze": "冻结", "Frozen": "已冻结", "frozen": "已冻结", "stop every order of every service": "停止所有服务的一切指令",
  "Overview": "总览", "Service": "服务", "Fleet": "机群", "Money": "费用", "Forecast quality": "预测质量",
  "Token": "令牌", "Open": "打开", "metrics": "指标", "models at {url}": "模型地址 {url}", "now": "现在", "nothing yet": "暂无",
  "the daemon does not answer; trying again": "守护进程没有应答，正在重试", "Waits for your word: {why}": "等待您的决定：{why}",
  "Approve": "批准", "Decline": "拒绝", "service": "服务",
  // overview
  "figures of this month": "本月数字", "Paid this month": "本月支出", "Saved this month": "本月节省", "against a static peak": "与固定峰值相比",
  "Alerts": "告警", "alerts": "告警", "that last": "持续中", "Alerts that last": "持续中的告警", "since": "起始", "what": "内容",
  "need": "需要", "hold": "保持", "saved": "节省", "champion": "冠军模型", "{n} unit-hours": "{n} 单元小时",
  // service
  "figures": "数字", "Units": "单元", "units": "单元", "SLO kept": "SLO 达成", "Saved": "节省", "Load": "负载", "load": "负载", "tide": "潮汐",
  "forecast 5–95 %": "预测 5–95 %", "ready": "就绪", "warming": "预热", "draining": "排空", "ordered": "已下单", "planned": "计划",
  "planned units": "计划单元", "forecast": "预测", "decisions": "决策", "the last decisions": "最近的决策", "Why this number": "为什么是这个数",
  "Load as a red curve over model units as blue blocks; the table below says the same": "红色曲线是负载，蓝色方块是模型单元；下表内容相同",
  "Click a slot to see why it holds what it holds.": "点击任一时段，查看其理由。", "The coming tide table, as a table": "未来潮汐表（表格）",
  "from": "起始", "requests/s": "请求/秒", "reason": "理由", "binds": "约束", "{n} warming": "{n} 个预热中", "{n} draining": "{n} 个排空中",
  "need {need}, hold {hold}": "需要 {need}，保持 {hold}", "lead p90 {s} s": "提前量 p90 {s} 秒", "{n} requests": "{n} 个请求",
  "TTFT p99 {was} of {slo}": "TTFT p99 {was} / {slo}", "latency p99 {was} of {slo}": "延迟 p99 {was} / {slo}",
  "{paid} unit-hours, static peak of {peak} would be {static}": "{paid} 单元小时；固定峰值 {peak} 个单元则需 {static}",
  "planned for {rate} /s": "按 {rate} /秒 计划", "no champion": "无冠军模型", "no decision yet": "尚无决策", "nothing was decided here": "此时无决策",
  "hold {hold} ({reason}); {rate} requests/s ({load} erl) need {need}, {binding} binds": "保持 {hold}（{reason}）；{rate} 请求/秒（{load} erl）需要 {need}，约束为 {binding}",
};
