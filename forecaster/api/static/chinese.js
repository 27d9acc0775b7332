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
  // fleet
  "failed": "失败", "gone": "已释放", "lives": "生命历程", "unit": "单元", "born": "诞生", "ended": "结束", "hours": "小时", "state": "状态",
  "the newest {n} of {all} units of the last 24 hours": "过去 24 小时 {all} 个单元中最新的 {n} 个", "{n} units in the last 24 hours": "过去 24 小时共 {n} 个单元",
  "Each unit's life as a line through time, coloured by state; the table below says the same": "每个单元的生命历程，按状态着色；下表内容相同",
  "The lives, as a table": "生命历程（表格）",
  // money
  "fleet": "机群", "unused": "未用", "billed, unused": "计费未用", "billed": "计费", "static-peak": "固定峰值", "hpa": "HPA", "seasonal-naive": "季节朴素",
  "unit-hours": "单元小时", "price": "价格", "judged over {n} h": "评判 {n} 小时", "{n} unit-hours, days: {days}": "{days} 天共 {n} 单元小时",
  "{money} over {n} h judged": "{money}（评判 {n} 小时）", "not judged yet": "尚未评判", "the last 30 days": "最近 30 天", "Paid in 30 days": "30 天支出",
  "Saved against a static peak": "较固定峰值节省", "Saved against HPA": "较 HPA 节省", "Saved against seasonal naive": "较季节朴素节省",
  "unit-hours by day": "每日单元小时", "Unit-hours by day": "每日单元小时", "price by day": "每日价格", "Price by day": "每日价格", "rivals": "对照策略",
  "Unit-hours by day, stacked by state, beside the rivals; the tables below say the same": "每日单元小时，按状态堆叠，并列对照策略；下表内容相同",
  "Price by day beside the rivals; the tables below say the same": "每日价格，并列对照策略；下表内容相同",
  "Against the rivals, over the hours that were judged": "与对照策略相比（仅评判时段）", "policy": "策略", "fleet unit-hours": "机群单元小时", "fleet price": "机群价格",
  "saved share": "节省比例", "fleet inside SLO": "机群 SLO 达成", "inside SLO": "SLO 达成", "statement": "账单", "Monthly statement": "月度账单", "month": "月份",
  "The days, as a table": "每日明细（表格）", "day": "日期",
  // forecast quality
  "figures of the last fortnight": "最近两周数字", "Champion": "冠军模型", "Drift": "漂移", "drift": "有漂移", "no drift": "无漂移", "Forecasts verified": "已验证预测",
  "Anomalies": "异常", "anomalies": "异常", "in the history that is learnt from": "学习所用历史中", "coverage": "覆盖率", "Coverage by level": "各水平覆盖率",
  "Share of what came below each promised level, a line for each lead; the table below says the same": "实际值低于各承诺水平的比例，每个提前量一条线；下表内容相同",
  "error": "误差", "Error by lead": "各提前量误差", "Weighted absolute percentage error by lead; the table below says the same": "各提前量的加权绝对百分比误差；下表内容相同",
  "leads": "提前量", "By lead": "按提前量", "lead": "提前量", "verified": "已验证", "bias": "偏差", "pinball 0.99": "弹球损失 0.99",
  "below 50 %": "低于 50 %", "below 90 %": "低于 90 %", "below 99 %": "低于 99 %", "versions": "版本", "Versions": "版本", "version": "版本", "created": "创建",
  "live": "在用", "naive WAPE": "朴素 WAPE", "cost": "成本", "verdict": "结论", "Labelled anomalies": "已标注异常", "to": "结束", "kind": "类别", "size": "倍数",
  "season": "季节", "why": "原因", "learnt": "学习", "not learnt": "不学习", "promised": "承诺", "came true": "实际", "{n} min": "{n} 分钟", "{n} h": "{n} 小时",
  "{n} still to come": "{n} 个待验证", "version {version} of {created}": "版本 {version}，{created}",
  "gap": "缺口", "outage": "中断", "retry-storm": "重试风暴", "throttled": "限流", "load-test": "压测", "flash-crowd": "突发流量", "by-hand": "人工标注",
};
