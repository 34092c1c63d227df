// What a metric is: its name, its kind, its labels, and what it means.

/// A metric with all its series, as Prometheus sees it.
///
/// Names and labels follow Prometheus' rules (`[a-zA-Z_:][a-zA-Z0-9_:]*`, labels without the colon) and conventions:
/// base units, counters end in `_total`.
public struct MetricFamily: Sendable, Hashable {
    public enum Kind: Sendable, Hashable {
        case counter
        case gauge
        /// - Parameter buckets: upper bounds, inclusive, ascending; `+Inf` is added.
        case histogram(buckets: [Double])
    }

    public let name: String
    public let kind: Kind
    /// In the order in which they are shown.
    public let labels: [String]
    /// One line for people.
    public let help: String

    public init(_ name: String, _ kind: Kind, labels: [String] = [], _ help: String) {
        precondition(Self.isName(name, allowsColon: true), "'\(name)' is no name of a metric")
        precondition(
            labels.allSatisfy { Self.isName($0, allowsColon: false) && !$0.hasPrefix("__") && $0 != "le" },
            "\(name) has a label with a name that Prometheus does not take")
        if case .histogram(let buckets) = kind {
            precondition(
                !buckets.isEmpty && zip(buckets, buckets.dropFirst()).allSatisfy(<) && buckets.allSatisfy(\.isFinite),
                "the buckets of \(name) do not ascend")
        }
        self.name = name
        self.kind = kind
        self.labels = labels
        self.help = help
    }

    private static func isName(_ name: String, allowsColon: Bool) -> Bool {
        guard let first = name.utf8.first, !(0x30...0x39).contains(first) else { return false }
        return name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
                true
            case UInt8(ascii: ":"): allowsColon
            default: false
            }
        }
    }
}
