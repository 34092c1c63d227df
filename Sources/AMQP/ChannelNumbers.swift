// Which channel numbers of a connection are free. Pure.

/// Hands out the channel numbers of one connection, and takes them back.
///
/// A number that was given back is not free at once: while librabbitmq waits for `channel.close-ok`, it puts aside what
/// else comes in, and hands that out later. Under the same number a new channel would be given the old one's messages.
struct ChannelNumbers {
    private enum State {
        case free
        case inUse
        /// Closed on both sides, but frames of it may still lie in the library.
        case retired
    }

    /// The state of number 1 is the first.
    private var states: [State] = []
    private let limit: Int
    private var hasRetired = false

    /// - Parameter limit: the highest number that the broker allows.
    init(limit: UInt16) {
        self.limit = Int(limit)
    }

    /// The lowest number that is free, from now on in use; `nil` when the broker allows no more.
    mutating func take() -> UInt16? {
        if let index = states.firstIndex(of: .free) {
            states[index] = .inUse
            return UInt16(index + 1)
        }
        guard states.count < limit else { return nil }
        states.append(.inUse)
        return UInt16(states.count)
    }

    /// The channel is closed on both sides.
    mutating func retire(_ number: UInt16) {
        states[Int(number) - 1] = .retired
        hasRetired = true
    }

    /// The library holds no frame any more: what was retired can be used again.
    mutating func drained() {
        guard hasRetired else { return }
        hasRetired = false
        for index in states.indices where states[index] == .retired { states[index] = .free }
    }

    /// Whether what comes on this channel is what was left of a closed one.
    func isRetired(_ number: UInt16) -> Bool {
        let index = Int(number) - 1
        return states.indices.contains(index) && states[index] == .retired
    }
}
