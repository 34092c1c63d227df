// Where values are kept: one cell per series, changed by relaxed atomics, so that counting never waits for a scrape.

import CoreMetrics
import Synchronization

/// The value of a counter.
final class CounterCell: CounterHandler {
    private let count = Atomic<Int64>(0)

    var value: Int64 { count.load(ordering: .relaxed) }

    func increment(by amount: Int64) { count.wrappingAdd(amount, ordering: .relaxed) }
    func reset() { count.store(0, ordering: .relaxed) }
}

/// A number that is set, or counts fractions.
final class NumberCell: MeterHandler, RecorderHandler, FloatingPointCounterHandler {
    private let number = AtomicDouble()

    var value: Double { number.value }

    func set(_ value: Int64) { number.store(Double(value)) }
    func set(_ value: Double) { number.store(value) }
    func record(_ value: Int64) { set(value) }
    func record(_ value: Double) { set(value) }
    func increment(by amount: Double) { number.add(amount) }
    func decrement(by amount: Double) { number.add(-amount) }
    func reset() { number.store(0) }
}

/// Observations by size.
///
/// The count is the sum of the buckets, so that the two always agree, whatever is observed during a scrape.
///
/// `@unchecked Sendable`: the pointer is never changed, and what it points to is atomic.
final class HistogramCell: RecorderHandler, TimerHandler, @unchecked Sendable {
    struct Snapshot: Equatable {
        /// Per bucket, not cumulated; one more than there are bounds, for what is above them all.
        var counts: [UInt64]
        var sum: Double
    }

    let bounds: [Double]
    private let counts: UnsafeMutablePointer<Atomic<UInt64>>
    private let sum = AtomicDouble()

    init(bounds: [Double]) {
        self.bounds = bounds
        counts = .allocate(capacity: bounds.count + 1)
        for index in 0...bounds.count { (counts + index).initialize(to: Atomic(0)) }
    }

    deinit {
        counts.deinitialize(count: bounds.count + 1)
        counts.deallocate()
    }

    var snapshot: Snapshot {
        // The sum first: an observation in between is then in its bucket and not yet in the sum, never the other way.
        let sum = sum.value
        return Snapshot(counts: (0...bounds.count).map { counts[$0].load(ordering: .relaxed) }, sum: sum)
    }

    func record(_ value: Double) {
        // Bounds are few: looking at them in turn beats halving.
        var index = 0
        while index < bounds.count, bounds[index] < value { index += 1 }
        counts[index].wrappingAdd(1, ordering: .relaxed)
        sum.add(value)
    }

    func record(_ value: Int64) { record(Double(value)) }
    func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1e9) }
}

/// A `Double` that can be added to from several threads.
struct AtomicDouble: ~Copyable {
    private let bits = Atomic<UInt64>(0)

    var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }

    func store(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }

    func add(_ amount: Double) {
        var old = bits.load(ordering: .relaxed)
        while true {
            let new = (Double(bitPattern: old) + amount).bitPattern
            let (done, current) = bits.weakCompareExchange(expected: old, desired: new, ordering: .relaxed)
            if done { return }
            old = current
        }
    }
}
