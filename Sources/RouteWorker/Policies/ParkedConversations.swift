// Which conversations have commands in a parking queue while their org is called all the same. Pure.

/// The conversations of one org whose later commands have to be parked, too, or they would overtake.
///
/// They are forgotten by rounds: what was parked before a round began is back in the lanes when the round ends.
struct ParkedConversations: Sendable, Hashable {
    private struct Round: Sendable, Hashable {
        /// Hash values: two conversations that share one are only more careful than they need be.
        var conversations: Set<Int> = []
        /// There were too many to tell them apart.
        var isEverything = false

        var isEmpty: Bool { conversations.isEmpty && !isEverything }

        mutating func add(_ other: Round, limit: Int) {
            conversations.formUnion(other.conversations)
            isEverything = isEverything || other.isEverything || conversations.count > limit
            if isEverything { conversations = [] }
        }
    }

    /// Of more than this many all count as parked; each takes some 16 bytes.
    private let limit: Int
    private var current = Round()
    private var earlier = Round()

    init(limit: Int = 100_000) { self.limit = limit }

    var isEmpty: Bool { current.isEmpty && earlier.isEmpty }

    func contains(_ conversation: Int) -> Bool {
        current.isEverything || earlier.isEverything || current.conversations.contains(conversation)
            || earlier.conversations.contains(conversation)
    }

    mutating func add(_ conversation: Int) {
        guard !current.isEverything, current.conversations.insert(conversation).inserted else { return }
        if current.conversations.count > limit { current = Round(isEverything: true) }
    }

    mutating func beginRound() {
        earlier.add(current, limit: limit)
        current = Round()
    }

    /// All that was added before the round began is back.
    mutating func endRound() { earlier = Round() }

    mutating func removeAll() { self = ParkedConversations(limit: limit) }
}
