// Prometheus' text-based exposition format, version 0.0.4 (Prometheus documentation, "Exposition formats"). Pure.

/// Writes families one after another.
struct TextFormat {
    private(set) var text = ""

    mutating func begin(_ family: MetricFamily) {
        let kind =
            switch family.kind {
            case .counter: "counter"
            case .gauge: "gauge"
            case .histogram: "histogram"
            }
        // In help texts quotation marks stand as they are.
        text += "# HELP \(family.name) \(family.help.escaped(quotes: false))\n# TYPE \(family.name) \(kind)\n"
    }

    mutating func sample(_ name: String, _ labels: [(String, String)], _ value: Double) {
        text += name
        if !labels.isEmpty {
            text += "{"
            for (index, (label, value)) in labels.enumerated() {
                if index > 0 { text += "," }
                text += "\(label)=\"\(value.escaped(quotes: true))\""
            }
            text += "}"
        }
        text += " \(value.shown)\n"
    }

    mutating func histogram(
        _ name: String, _ labels: [(String, String)], _ bounds: [Double], _ snapshot: HistogramCell.Snapshot
    ) {
        var total: UInt64 = 0
        for (bound, count) in zip(bounds + [.infinity], snapshot.counts) {
            total += count
            sample(name + "_bucket", labels + [("le", bound.shown)], Double(total))
        }
        sample(name + "_sum", labels, snapshot.sum)
        sample(name + "_count", labels, Double(total))
    }
}

extension String {
    fileprivate func escaped(quotes: Bool) -> String {
        guard utf8.contains(where: { $0 == 0x5C || $0 == 0x0A || quotes && $0 == 0x22 }) else { return self }
        var escaped = ""
        for scalar in unicodeScalars {
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\n": escaped += "\\n"
            case "\"" where quotes: escaped += "\\\""
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }
}

extension Double {
    /// As Go reads it: whole numbers without a fraction, infinity with its sign.
    fileprivate var shown: String {
        if isNaN { return "NaN" }
        if isInfinite { return self > 0 ? "+Inf" : "-Inf" }
        if self == rounded(), magnitude < 1e15 { return String(Int64(self)) }
        return description
    }
}
