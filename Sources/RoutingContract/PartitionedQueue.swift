// The names of the partitioned topology: one commands queue, spread over many.

/// A commands queue that is spread over partitions, each consumed by one worker at a time.
///
/// Publishers send to ``exchange`` with the conversation as routing key. Workers find their share of the partitions by
/// ``lock(_:)`` and the ``countingQueues``, in none of which anything is ever published.
public struct PartitionedQueue: Sendable, Hashable {
    /// The commands queue in whose place the partitions are.
    public var name: String
    /// How many partitions there are, numbered from 0; at least 1.
    public var count: Int
    public var exchange: String

    public init(name: String, count: Int, exchange: String) {
        self.name = name
        self.count = count
        self.exchange = exchange
    }

    public func partition(_ number: Int) -> String { "\(name).\(number)" }

    /// The exclusive queue of the partition's owner.
    public func lock(_ number: Int) -> String { "\(name).\(number).owner" }

    public var partitions: [String] { (0..<count).map(partition) }
    public var locks: [String] { (0..<count).map(lock) }

    /// Consumed by every worker.
    public var workers: String { name + ".workers" }
    /// Consumed by workers that would take one more partition, or want their share.
    public var wantingOne: String { name + ".wanting.one" }
    /// Consumed by workers that have less than their share.
    public var wantingShare: String { name + ".wanting.share" }

    /// Queues whose consumers are counted.
    public var countingQueues: [String] { [workers, wantingOne, wantingShare] }

    /// Whether `queue` is a partition of `commandsQueue`, whatever their number, goes with one, or is a counting queue.
    static func isOne(_ queue: String, of commandsQueue: String) -> Bool {
        let all = PartitionedQueue(name: commandsQueue, count: 1, exchange: "")
        if all.countingQueues.contains(queue) { return true }
        let digits = queue.utf8.dropFirst(commandsQueue.utf8.count + 1).prefix {
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
        }
        guard let number = Int(String(Substring(digits))) else { return false }
        return queue == all.partition(number) || queue == all.lock(number)
            || ParkingQueue.isOne(queue, of: all.partition(number))
    }
}
