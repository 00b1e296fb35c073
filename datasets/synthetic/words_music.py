"""Words of the two music twins: what listeners call a mood, and what the tracks of that mood are titled.

One line `= genre | prompt phrases of the theme` per theme, then one line `prompt phrases : title words` per sub-theme.
The two sides share few words on purpose: what links them can only be learnt from train slates.
"""

THEMES = """
= Rock | road trip, driving, highway hours, in the car
night drive, late on the motorway, empty streets : Headlight, Midnight, Tunnel, Mirror, Avenue, Signal
summer cruise, windows down, coast road : Coastline, Harbor, Convertible, Palm, Boulevard, Salt
long haul, trucker classics, miles to go : Diesel, Freight, Interstate, Motel, Gravel, Mile
desert escape, wide open, out west : Canyon, Cactus, Mesa, Coyote, Rattlesnake, Mirage
garage riffs, teenage band, basement rock : Amplifier, Skateboard, Locker, Fuzz, Razor, Denim
= Hip Hop | workout, gym, training, sweat
heavy lifting, leg day, beast mode : Iron, Hammer, Titan, Concrete, Anvil, Grip
running, cardio, morning jog : Velocity, Stride, Finish, Pavement, Sprint, Comet
boxing, fight night, warm up : Knockout, Corner, Glove, Bell, Champion, Bruise
hustle, grind, money moves : Paper, Ledger, Empire, Diamond, Block, Crown
basketball, pregame, locker room : Jersey, Rebound, Bleachers, Trophy, Dribble, Playoff
= Ambient | sleep, bedtime, night rest, falling asleep
rain sounds, stormy night, cozy : Cloud, Puddle, Gutter, Thunder, Window, Umbrella
baby lullaby, kids bedtime, nursery : Cradle, Teddy, Feather, Pillow, Starlight, Whisper
deep meditation, yoga, breathing : Lotus, Temple, Incense, Bamboo, Breath, Mantra
space drone, floating, weightless : Orbit, Nebula, Satellite, Gravity, Vacuum, Saturn
ocean calm, waves, by the sea : Tide, Lagoon, Driftwood, Coral, Pelican, Shoreline
= Jazz | dinner, cooking, kitchen, guests coming
cocktail hour, fancy bar, martini : Velvet, Olive, Tuxedo, Piano, Ballroom, Champagne
coffee shop, sunday brunch, latte : Saucer, Cinnamon, Croissant, Espresso, Newspaper, Marmalade
date night, candle light, romance at home : Ember, Rosewood, Silk, Perfume, Balcony, Satin
big band, swing dancing, ballroom : Trombone, Brass, Parade, Uptown, Swing, Spotlight
french cafe, paris afternoon, accordion : Montmartre, Seine, Beret, Lantern, Bistro, Carousel
= Electronic | party, club, weekend, pregame
house party, friends over, saturday night : Disco, Glitter, Confetti, Balloon, Rooftop, Doorbell
rave, warehouse, hard techno : Voltage, Reactor, Strobe, Siren, Bunker, Circuit
beach bar, ibiza, pool party : Sundeck, Flamingo, Coconut, Lagune, Paradise, Mango
video games, arcade, boss fight : Pixel, Joystick, Dungeon, Avatar, Console, Cartridge
synthwave, eighties future, neon city : Skyline, Cassette, Android, Grid, Hologram, Turbo
= Indie | study, homework, focus, library
lofi beats, exam week, cram session : Notebook, Pencil, Desk, Eraser, Chapter, Margin
reading, quiet corner, books and tea : Novel, Teapot, Armchair, Bookmark, Library, Attic
coding, deep work, in the zone : Terminal, Cursor, Compile, Keyboard, Matrix, Buffer
rainy afternoon, autumn mood, sweater weather : Maple, October, Cardigan, Harvest, Chimney, Acorn
bedroom pop, shy, daydream : Polaroid, Ceiling, Daisy, Blanket, Sticker, Lemonade
= Country | barbecue, backyard, family gathering, fourth of july
line dancing, cowboy boots, honky tonk : Saddle, Lasso, Jukebox, Whiskey, Boots, Rodeo
farm life, small town, front porch : Tractor, Barn, Cornfield, Porch, Creek, Mailbox
fishing, lake weekend, campfire : Cabin, Trout, Canoe, Firewood, Pinecone, Dock
faith, sunday service, gospel : Chapel, Steeple, River, Grace, Shepherd, Hymn
bluegrass, pickin, mountain strings : Banjo, Holler, Fiddle, Ridge, Coal, Appalachia
= R&B | love, couple, valentine, relationship
slow jams, bedroom, between the sheets : Midnight, Candle, Honey, Skin, Sugar, Moonlight
wedding, first dance, walking down the aisle : Vow, Bouquet, Chapel, Ring, Forever, Veil
crush, butterflies, new love : Blush, Text, Sidewalk, Cherry, Flutter, Ribbon
breakup, missing my ex, tears : Suitcase, Goodbye, Ashes, Voicemail, Shadow, Splinter
girl power, confidence, queen energy : Lipstick, Stiletto, Throne, Mirror, Goddess, Tiger
= Latin | dance class, salsa night, fiesta, baila
reggaeton, perreo, latin club : Fuego, Gasolina, Calle, Barrio, Candela, Noche
bachata, slow latin love, dancing close : Corazon, Beso, Luna, Guitarra, Rosa, Promesa
cumbia, abuelita, family fiesta : Pueblo, Maraca, Mercado, Gallo, Tamal, Plaza
bossa nova, rio, brazilian sunset : Ipanema, Saudade, Praia, Samba, Onda, Janeiro
mariachi, tequila, mexican classics : Sombrero, Rancho, Aguila, Jalisco, Trompeta, Camino
= Metal | rage, angry, headbang, mosh pit
doom, slow and heavy, sludge : Tomb, Swamp, Monolith, Obelisk, Rot, Funeral
thrash, fast and furious, speed : Warhead, Chainsaw, Bullet, Havoc, Blitz, Shrapnel
viking, norse, battle hymns : Valhalla, Axe, Raven, Longship, Rune, Frost
emo kid, high school angst, eyeliner : Scar, Diary, Hoodie, Bleeding, Cemetery, Stitch
symphonic, fantasy quest, dragons : Castle, Dragon, Sorcerer, Oracle, Sword, Phoenix
= Folk | camping, hiking, nature, cabin weekend
forest walk, woods, trees : Birch, Fern, Moss, Timber, Thicket, Owl
sailor tunes, pirate, sea shanty : Anchor, Whaler, Captain, Mast, Rum, Compass
irish pub, st patricks, celtic : Clover, Galway, Pint, Emerald, Harp, Shannon
protest, sixties peace, hippie : Banner, March, Freedom, Dove, Picket, Daylight
winter cabin, snowed in, fireplace : Snowfall, Sled, Icicle, Hearth, Evergreen, Mitten
= Pop | sing along, karaoke, guilty pleasure, top hits
shower singing, belting, power ballads : Thunderbolt, Anthem, Rocket, Firework, Mountain, Echo
teen years, middle school, boy bands : Bubblegum, Crayon, Slumber, Backpack, Braces, Yearbook
getting ready, makeup, hairbrush mic : Sequin, Runway, Mascara, Heels, Closet, Sparkle
cleaning the house, chores, mop and dance : Broom, Laundry, Apron, Bubble, Sponge, Hallway
kids car ride, cartoon songs, disney-like : Unicorn, Puppet, Jellybean, Rainbow, Penguin, Pajama
= Classical | concentration, elegant, instrumental, no words
piano alone, solo keys, melancholy keys : Nocturne, Prelude, Sonata, Etude, Ivory, Waltz
epic film, trailer, battle scene : Legion, Gladiator, Crusade, Eclipse, Fortress, Destiny
baroque, court music, harpsichord : Minuet, Gavotte, Fugue, Concerto, Chaconne, Allegro
christmas eve, holiday, winter choir : Noel, Bells, Mistletoe, Angel, Chimes, Manger
opera, drama, arias : Aria, Diva, Curtain, Serenade, Duchess, Requiem
= Reggae | chill, relaxing, laid back, island life
stoner, smoke session, high vibes : Herb, Haze, Lantern, Bonfire, Vapor, Lion
surf, board shorts, beach day : Wave, Surfboard, Sandbar, Seagull, Reef, Wax
dub, bass heavy, sound system : Echo, Speaker, Selector, Rewind, Riddim, Chamber
ska, brass party, skanking : Checkered, Trumpet, Scooter, Rudeboy, Braces, Parade
hammock, siesta, do nothing : Hammock, Breeze, Siesta, Melon, Shade, Lizard
"""

# One line per facet: prompt words : title adjectives : suffixes of a title
FACETS = """
unplugged, stripped back, acoustic, campfire guitar : Wooden, Bare, Quiet, Paper : (Acoustic), (Unplugged), (Demo)
club, dance version, turned up, bass boosted : Neon, Electric, Chrome, Liquid : (Remix), (Extended Mix), (Club Edit)
throwback, oldies, back in the day, vintage : Faded, Dusty, Sepia, Antique : (Remastered), (Mono), (Single Version)
live, on stage, concert, festival : Crowded, Roaring, Open, Loud : (Live), (Live Session), (Encore)
sad, heartbreak, in my feelings, melancholy : Broken, Hollow, Grey, Lonely : (Interlude), (Slowed), (Reprise)
happy, feel good, smile, uplifting : Golden, Bright, Sunny, Sweet : (Radio Edit), (Sing Along), (Bonus Track)
"""

PLAIN_ADJECTIVES = "Little, Second, Distant, Silver, Every, Secret, Slow, Wild, Endless, Borrowed, Half, Northern, Blue"
PLAIN_NOUNS = "Heart, Song, Day, Dream, Fire, Time, Girl, Boy, World, Light, Town, Story, Home, Eyes, Letter, Water"
TAILS = "Again, Tonight, for You, in Me, Forever, on the Line, of Mine, After All, Pt. 2, at Dawn, Over Again, Somehow"
FIRST_NAMES = (
    "Ada, Boone, Celia, Dario, Elsie, Farid, Greta, Hollis, Imani, Jonas, Kaya, Lucian, Mabel, Nico, Odette, Pilar, "
    "Quincy, Rosa, Silas, Tamsin, Ulla, Viggo, Wren, Xavi, Yara, Zeke, Marlow, Junie, Otis, Priya, Rafe, Sunniva"
)
LAST_NAMES = (
    "Abernathy, Bellweather, Castellan, Dunmore, Estrada, Fairbank, Goldwyn, Hawthorne, Iversen, Jarrett, Kessler, "
    "Lockhart, Moreno, Nightingale, Okafor, Pemberton, Quill, Ravenna, Sandoval, Thackeray, Underhill, Vance, "
    "Whitlock, Yamada, Zeller, Ashgrove, Brixton, Calloway, Delacroix, Everhart, Finch, Grimaldi"
)
BAND_ADJECTIVES = (
    "Copper, Crooked, Holy, Polite, Spare, Invisible, Marble, Tender, Feral, Modern, Lucky, Stolen, Hungry"
)
BAND_NOUNS = "Lanterns, Foxes, Engines, Cousins, Strangers, Pilots, Sisters, Sailors, Ghosts, Wolves, Saints, Painters"

GENERIC_TITLES = (
    "my playlist, music, songs, playlist 1, favorites, random, new, untitled, mix, good stuff, liked, stuff i like, "
    "bangers, all, jams, 2, the best, yes, current, everything"
)
LISTENER_TAILS = "playlist, vibes, mix, songs, music, jams, tunes, hits, mood, :)"
EMOJI = "🎵, 🔥, ❤️, 😎, 🎧, 🌙, ☀️, 💃, 🎉, 💔, 🙌, ✨"

OPENINGS = (
    "A hand-picked selection of, Our editors' guide to, Twenty years of, The quiet pull of, Settle in with, "
    "An introduction to, Essential listening:, Rediscover, The best of, Press play on, "
    "A slow walk through, In praise of"
)
JOINTS = "drifting into, with a touch of, that leans towards, and a little, meeting, on the way to, next door to"
CLOSINGS = (
    "made for, perfect for, to go with, the right sound for, put together for, best enjoyed during, when it is time for"
)
