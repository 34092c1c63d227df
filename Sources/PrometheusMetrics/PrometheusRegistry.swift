// The registry: which families there are, and their series.

public import CoreMetrics
import Synchronization

/// Keeps metrics in memory for Prometheus to fetch; the backend of a swift-metrics `Counter`, `Meter`, `Timer` or
/// `Recorder` that is made with it as `factory`.
///
/// Only declared families can be made, with just their labels: a metric that nobody wrote down, or one with a label too
/// many, is a mistake of the program, and traps. Making one costs a lock; keep what you made, and counting costs a few
/// atomic operations. A `Timer` goes into a histogram in seconds, a `Recorder` into a histogram of its own numbers.
///
/// Each family holds ``seriesLimit`` series at most. What would be more is counted together, in one series whose labels
/// all read `(other)`: a label that grows without end must not cost the worker its memory.
public final class PrometheusRegistry: MetricsFactory {
    private enum Cell {
        case counter(CounterCell)
        case number(NumberCell)
        case histogram(HistogramCell)

        var object: AnyObject {
            switch self {
            case .counter(let cell): cell
            case .number(let cell): cell
            case .histogram(let cell): cell
            }
        }
    }

    private struct State: Sendable {
        var cells: [String: [[String]: Cell]] = [:]
    }

    /// Stands for the labels of what was too many.
    static let otherLabel = "(other)"

    private let families: [String: MetricFamily]
    private let seriesLimit: Int
    private let state = Mutex(State())

    /// - Parameters:
    ///   - families: all there will ever be; no name twice.
    ///   - seriesLimit: of one family, at least 1.
    public init(_ families: [MetricFamily], seriesLimit: Int = 10_000) {
        self.families = Dictionary(uniqueKeysWithValues: families.map { ($0.name, $0) })
        self.seriesLimit = max(1, seriesLimit)
    }

    // MARK: swift-metrics

    public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        let cell = cell(label, dimensions) { family in
            guard case .counter = family.kind else { return nil }
            return .counter(CounterCell())
        }
        guard case .counter(let counter) = cell else { mismatch(label) }
        return counter
    }

    public func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        let cell = cell(label, dimensions) { family in
            guard case .counter = family.kind else { return nil }
            return .number(NumberCell())
        }
        guard case .number(let number) = cell else { mismatch(label) }
        return number
    }

    public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        gauge(label, dimensions)
    }

    public func makeRecorder(
        label: String, dimensions: [(String, String)], aggregate: Bool
    ) -> any RecorderHandler {
        aggregate ? histogram(label, dimensions) : gauge(label, dimensions)
    }

    public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        histogram(label, dimensions)
    }

    public func destroyCounter(_ handler: any CounterHandler) { destroy(handler) }
    public func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) { destroy(handler) }
    public func destroyMeter(_ handler: any MeterHandler) { destroy(handler) }
    public func destroyRecorder(_ handler: any RecorderHandler) { destroy(handler) }
    public func destroyTimer(_ handler: any TimerHandler) { destroy(handler) }

    // MARK: -

    private func gauge(_ label: String, _ dimensions: [(String, String)]) -> NumberCell {
        let cell = cell(label, dimensions) { family in
            guard case .gauge = family.kind else { return nil }
            return .number(NumberCell())
        }
        guard case .number(let number) = cell else { mismatch(label) }
        return number
    }

    private func histogram(_ label: String, _ dimensions: [(String, String)]) -> HistogramCell {
        let cell = cell(label, dimensions) { family in
            guard case .histogram(let buckets) = family.kind else { return nil }
            return .histogram(HistogramCell(bounds: buckets))
        }
        guard case .histogram(let histogram) = cell else { mismatch(label) }
        return histogram
    }

    private func cell(
        _ name: String, _ dimensions: [(String, String)], make: (MetricFamily) -> Cell?
    ) -> Cell {
        guard let family = families[name], family.labels == dimensions.map(\.0) else { mismatch(name) }
        let values = dimensions.map(\.1)
        return state.withLock { state in
            if let cell = state.cells[name]?[values] { return cell }
            let isFull = state.cells[name].map { $0.count >= seriesLimit } ?? false
            let key = isFull ? values.map { _ in Self.otherLabel } : values
            if let cell = state.cells[name]?[key] { return cell }
            guard let cell = make(family) else { mismatch(name) }
            state.cells[name, default: [:]][key] = cell
            return cell
        }
    }

    private func mismatch(_ name: String) -> Never {
        preconditionFailure("the metric '\(name)' is not declared with this kind and these labels")
    }

    private func destroy(_ handler: AnyObject) {
        state.withLock { state in
            for name in state.cells.keys {
                guard let values = state.cells[name]?.first(where: { $0.value.object === handler })?.key else {
                    continue
                }
                state.cells[name]?[values] = nil
            }
        }
    }

    /// Everything as it is now, in text format 0.0.4; families by name, series by labels. Families without a series are
    /// left out.
    public func exposition() -> String {
        let cells = state.withLock { $0.cells }
        var text = TextFormat()
        for name in cells.keys.sorted() {
            guard let family = families[name], let series = cells[name], !series.isEmpty else { continue }
            text.begin(family)
            for (values, cell) in series.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
                let labels = Array(zip(family.labels, values))
                switch cell {
                case .counter(let counter): text.sample(name, labels, Double(counter.value))
                case .number(let number): text.sample(name, labels, number.value)
                case .histogram(let histogram): text.histogram(name, labels, histogram.bounds, histogram.snapshot)
                }
            }
        }
        return text.text
    }
}
