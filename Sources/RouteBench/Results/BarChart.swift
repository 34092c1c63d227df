// The comparison as a picture.

/// A bar chart of the processor time per command, user and system stacked, one group per upstream delay and queue.
struct BarChart {
    private let report: Report

    private static let left = 190
    private static let width = 760
    private static let barHeight = 18

    init(_ report: Report) {
        self.report = report
    }

    var svg: String {
        var body = ""
        var y = 56
        let most = report.measurements.map(\.throughput.worker.total).max() ?? 1
        let scale = Double(Self.width - Self.left - 130) / most
        var group = ""
        for measurement in report.measurements {
            let title =
                "upstream \(measurement.delayMilliseconds) ms, \(measurement.queue.rawValue) queue, "
                + "\(measurement.workers) worker\(measurement.workers == 1 ? "" : "s")"
            if title != group {
                group = title
                y += 14
                body += text(title, x: 16, y: y, "font-weight='bold'")
                y += 10
            }
            let cost = measurement.throughput.worker
            let (user, system) = (Int(cost.user * scale), Int(cost.system * scale))
            body += text(measurement.contestant, x: Self.left - 8, y: y + 13, "text-anchor='end'")
            body += bar(x: Self.left, y: y, width: user, "#3b6ea5")
            body += bar(x: Self.left + user, y: y, width: system, "#9dbbd8")
            let note = "\(cost.total.formatted(1)) µs · \(Int(measurement.throughput.rate))/s"
            body += text(note, x: Self.left + user + system + 6, y: y + 13)
            y += Self.barHeight + 6
        }
        let header =
            text("Processor time of the worker per command (dark: user, light: system)", x: 16, y: 24, "font-size='15'")
            + text(report.machine.summary, x: 16, y: 42, "fill='#666'")
        return """
            <svg xmlns="http://www.w3.org/2000/svg" width="\(Self.width)" height="\(y + 12)" \
            viewBox="0 0 \(Self.width) \(y + 12)" font-family="sans-serif" font-size="12">
            <rect width="100%" height="100%" fill="white"/>
            \(header)\(body)</svg>

            """
    }

    private func text(_ text: String, x: Int, y: Int, _ attributes: String = "") -> String {
        let escaped = text.replacing("&", with: "&amp;").replacing("<", with: "&lt;")
        return "<text x='\(x)' y='\(y)' \(attributes)>\(escaped)</text>\n"
    }

    private func bar(x: Int, y: Int, width: Int, _ colour: String) -> String {
        "<rect x='\(x)' y='\(y)' width='\(width)' height='\(Self.barHeight)' fill='\(colour)'/>\n"
    }
}
